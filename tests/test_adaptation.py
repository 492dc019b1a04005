"""Checkpoints adapted to other images, patches, classes: as timm does when loading."""

import itertools

import ml_dtypes
import numpy as np
import pytest
import timm.layers.patch_embed as timm_patch_embed
from micro import MICRO, micro_config
from timm.models import adapt_input_conv as timms_adapt_input_conv
from timm.models import load_pretrained
from timm.models.vision_transformer_hybrid import checkpoint_filter_fn

import vit_tf
from vit_tf import models, proof, source
from vit_tf.adaptation import adapt
from vit_tf.checkpoints import CheckpointError
from vit_tf.checkpoints.input_conv import adapt_input_conv
from vit_tf.checkpoints.patch_embed import resample_patch_embed, unflatten
from vit_tf.checkpoints.pos_embed import resample_abs_pos_embed
from vit_tf.checkpoints.random import RandomTensors
from vit_tf.models.vision_transformer_hybrid import feature_size
from vit_tf.reference import _to_torch, timm, timm_arguments, torch

GRIDS = [(1, 1), (7, 7), (14, 14), (5, 9), (24, 10), (16, 37)]
PATCHES = [(4, 4), (7, 7), (8, 8), (6, 10)]
SWIN = dict(
    img_size=32, embed_dim=8, depths=(2, 1), num_heads=(1, 2), window_size=4,
    num_classes=7,
)  # fmt: skip


def random(*shape, dtype=np.float32):
    return np.random.default_rng(0).standard_normal(shape, np.float32).astype(dtype)


# torch computes the weights of an interpolation in float32, and joins multiplications
# and additions where the processor can: for each axis, a weight is up to 6e-7 off ours.
# In float64 they agree to 1e-12 (tests/test_pos_embed.py).
INTERPOLATED = 2e-6
# timm inverts a resize in float32: it is up to 4e-6 off the inverse in float64.
INVERTED = 5e-6


def assert_close(found, expected, relative=INTERPOLATED):
    assert found.dtype == expected.dtype
    assert found.shape == expected.shape
    limit = relative * np.abs(expected).max()
    np.testing.assert_allclose(found, expected, rtol=0, atol=limit)


@pytest.mark.parametrize("old", GRIDS)
@pytest.mark.parametrize("new", GRIDS)
@pytest.mark.parametrize("prefix", [0, 1, 5])
def test_position_embeddings_are_resampled_as_in_timm(old, new, prefix):
    x = random(1, prefix + old[0] * old[1], 24)
    expected = timm.layers.resample_abs_pos_embed(
        torch.from_numpy(x), new, old, prefix
    ).numpy()
    found = resample_abs_pos_embed(x, new, old, prefix)
    np.testing.assert_array_equal(found[:, :prefix], x[:, :prefix])
    assert_close(found, expected)


@pytest.mark.parametrize("dtype", [np.float16, ml_dtypes.bfloat16, np.float64])
def test_they_are_resampled_in_float32_and_keep_their_type(dtype):
    x = random(1, 1 + 9, 5, dtype=dtype)
    expected = resample_abs_pos_embed(x.astype(np.float32), (4, 5)).astype(dtype)
    np.testing.assert_array_equal(resample_abs_pos_embed(x, (4, 5)), expected)
    assert resample_abs_pos_embed(x, (3, 3)) is x


def test_a_grid_that_is_not_the_embeddings_own_is_an_error():
    with pytest.raises(ValueError, match="of 10 patches is not for a grid of 3 x 3"):
        resample_abs_pos_embed(random(1, 11, 2), (4, 4))


@pytest.mark.parametrize(("old", "new"), itertools.permutations(PATCHES, 2))
def test_patch_embeddings_are_resampled_as_in_timm(old, new):
    x = random(4, 3, *old)
    found = resample_patch_embed(x, new)
    expected = timm_patch_embed.resample_patch_embed(torch.from_numpy(x), new).numpy()
    assert_close(found, expected, INVERTED)
    matrix = timm_patch_embed._compute_resize_matrix(
        old, new, "bicubic", True, torch.device("cpu"), torch.float64
    )
    exact = x.reshape(4, 3, -1) @ np.linalg.pinv(matrix.numpy())
    assert_close(found, exact.reshape(4, 3, *new).astype(np.float32), 1e-6)


def test_the_same_patches_are_left_as_they_are():
    x = random(4, 3, 8, 8)
    assert resample_patch_embed(x, (8, 8)) is x


def test_patches_of_another_size_than_a_linear_projection_are_an_error():
    with pytest.raises(ValueError, match="768 numbers is not one of patches of 14 x"):
        unflatten(random(4, 768), (14, 14))


@pytest.mark.parametrize("base", [1, 2, 3, 4])
@pytest.mark.parametrize("channels", [1, 2, 3, 4, 5, 7, 13])
@pytest.mark.parametrize("dtype", ["float32", "float16", "bfloat16", "float64"])
def test_channels_are_adapted_as_in_timm_bit_for_bit(base, channels, dtype):
    x = random(4, base, 5, 5, dtype=np.dtype(dtype))
    expected = timms_adapt_input_conv(channels, _to_torch(x), base_chans=base)
    found = adapt_input_conv(channels, x)
    assert found.dtype == x.dtype
    np.testing.assert_array_equal(
        found.astype(np.float64), expected.to(torch.float64).numpy()
    )


def test_images_without_channels_are_an_error():
    with pytest.raises(ValueError, match="in_chans=0: expected 1 or more"):
        adapt_input_conv(0, random(4, 3, 5, 5))


@pytest.mark.parametrize("size", [(224, 224), (97, 225), (33, 64)])
@pytest.mark.parametrize(
    "name",
    [
        "vit_base_r26_s32_224", "vit_base_r50_s16_224", "vit_tiny_r_s16_p8_224",
        "vit_base_resnet26d_224", "vit_small_resnet50d_s16_224", "vit_base_mci_224",
    ],
)  # fmt: skip
def test_a_hybrids_features_are_as_large_as_its_network_makes_them(name, size):
    model = vit_tf.get_config(name).model
    embed = timm_arguments(model.to_dict())["embed_layer"]
    network = embed.keywords["backbone"].to("meta")
    features = network(torch.empty((1, 3, *size), device="meta"))
    if isinstance(features, list):
        features = features[-1]
    found = feature_size(size, model.backbone, model.backbone_layers)
    assert found == tuple(features.shape[-2:])


CASES = {
    "ViT": ("vit_tiny_patch16_224", MICRO, dict(img_size=(48, 80))),
    "ViT, other patches": ("vit_tiny_patch16_224", MICRO, dict(patch_size=8)),
    "ViT, all at once": (
        "vit_tiny_patch16_224",
        MICRO,
        dict(img_size=64, patch_size=(8, 16), in_chans=5, num_classes=3),
    ),
    "ViT, not square": (
        "vit_tiny_patch16_224",
        {**MICRO, "img_size": (32, 48)},
        dict(img_size=(64, 32)),
    ),
    "ViT, the same number": (
        "vit_tiny_patch16_224",
        {**MICRO, "img_size": (32, 128)},
        dict(img_size=64),
    ),
    "ViT, no classes": ("vit_tiny_patch16_224", MICRO, dict(num_classes=0)),
    "distilled": (
        "deit_tiny_distilled_patch16_224",
        MICRO,
        dict(img_size=64, num_classes=3, in_chans=1),
    ),
    "DeiT-III": (
        "deit3_small_patch16_224",
        MICRO,
        dict(img_size=(48, 64), in_chans=4),
    ),
    "registers": (
        "vit_small_patch14_reg4_dinov2",
        {**MICRO, "img_size": 28, "num_classes": 0},
        dict(img_size=42, num_classes=9),
    ),
    "registers, no class token": (
        "vit_medium_patch16_reg4_gap_256",
        MICRO,
        dict(img_size=48, num_classes=9),
    ),
    "CaiT": ("cait_xxs24_224", MICRO, dict(in_chans=1, num_classes=4)),
    "Swin, images": (
        "swin_tiny_patch4_window7_224",
        SWIN,
        dict(img_size=(64, 8), in_chans=1),
    ),
    "Swin, windows": (
        "swin_tiny_patch4_window7_224",
        SWIN,
        dict(img_size=64, window_size=((8, 5), (3, 4)), num_classes=3),
    ),
    "Swin V2": (
        "swinv2_tiny_window8_256",
        SWIN,
        dict(img_size=64, window_size=8, in_chans=4, num_classes=3),
    ),
    "Swin V2, other patches": ("swinv2_tiny_window8_256", SWIN, dict(patch_size=2)),
    "hybrid": (
        "vit_small_r26_s32_224",
        models.small_config("vit_small_r26_s32_224").model.to_dict() | {"img_size": 64},
        dict(img_size=(96, 160), in_chans=1, num_classes=3),
    ),
    "hybrid, stem alone": (
        "vit_tiny_r_s16_p8_224",
        MICRO | {"img_size": 64},
        dict(img_size=128, in_chans=4),
    ),
    "hybrid, ResNet": (
        "vit_small_resnet26d_224",
        models.small_config("vit_small_resnet26d_224").model.to_dict()
        | {"img_size": 64},
        dict(img_size=128, in_chans=5),
    ),
    "hybrid, ConvStem": (
        "vit_base_mci_224",
        models.small_config("vit_base_mci_224").model.to_dict() | {"img_size": 32},
        dict(img_size=64, in_chans=2, num_classes=0),
    ),
}  # fmt: skip


def tensors_for(config):
    """Random ones, of the shapes that timm's model has."""
    with torch.device("meta"):
        arguments = timm_arguments(proof.shared_arguments(config))
        state = timm.create_model(config.architecture, **arguments).state_dict()
    return dict(RandomTensors({k: tuple(v.shape) for k, v in state.items()}, 0))


def timms(config, tensors, stored):
    """What timm's model holds when it has loaded `tensors`, made for `stored`."""
    height, width, channels = models.input_shape(stored)
    source = dict(
        state_dict={name: _to_torch(tensor) for name, tensor in tensors.items()},
        input_size=(channels, height, width),
        num_classes=stored.model.num_classes,
    )
    arguments = timm_arguments(proof.shared_arguments(config))
    if config.model.get("backbone") != "resnet":
        model = timm.create_model(
            config.architecture,
            pretrained=True,
            pretrained_cfg_overlay=source,
            **arguments,
        )
    else:  # there `pretrained` also asks a hub for the ResNet's weights
        model = timm.create_model(config.architecture, **arguments)
        load_pretrained(
            model,
            {**model.pretrained_cfg, **source},
            num_classes=config.model.num_classes,
            in_chans=config.model.in_chans,
            filter_fn=checkpoint_filter_fn,
        )
    return {name: tensor.numpy() for name, tensor in model.state_dict().items()}


def adapted(stored, config, tensors=None, **known):
    tensors = tensors_for(stored) if tensors is None else tensors
    arguments = known or stored.model.to_dict()
    return adapt(tensors, arguments, config.model.to_dict(), config.model_class)


@pytest.mark.parametrize("case", CASES)
def test_what_timm_loads_is_what_adapt_gives(case):
    name, arguments, changes = CASES[case]
    stored = vit_tf.get_config(name, **arguments)
    config = vit_tf.get_config(name, **{**arguments, **changes})
    tensors = tensors_for(stored)
    found, notes = adapted(stored, config, tensors)
    expected = timms(config, tensors, stored)
    assert found.keys() == expected.keys()
    anew = {n.split(":")[0] for n in notes if "drawn anew" in n}
    resampled = {n.split(":")[0] for n in notes if "bicubic" in n or "tables" in n}
    for key, tensor in expected.items():
        if key.rpartition(".")[0] in anew:
            assert found[key].shape == tensor.shape
        elif any(key.startswith(start) for start in resampled):
            tolerance = INVERTED if "patch_embed" in key else INTERPOLATED
            assert_close(found[key], tensor, tolerance)
        else:
            np.testing.assert_array_equal(found[key], tensor, err_msg=key)
    assert bool(anew) == bool(changes.get("num_classes"))
    for known in (stored.model.to_dict(), {}):  # and where there is nothing to adapt
        found = adapt(tensors, known, stored.model.to_dict(), stored.model_class)
        assert found[0] is tensors
        assert found[1] == []


def test_each_change_is_noted():
    stored = micro_config("deit_tiny_distilled_patch16_224")
    config = micro_config(
        "deit_tiny_distilled_patch16_224", img_size=(48, 64), patch_size=8, in_chans=1,
        num_classes=3,
    )  # fmt: skip
    assert adapted(stored, config)[1] == [
        "pos_embed: 2 x 2 -> 6 x 8 patches, bicubic",
        "patch_embed.proj.weight: 16 x 16 -> 8 x 8 pixels, pseudo-inverse of bicubic",
        "patch_embed.proj.weight: 3 -> 1 channels, summed",
        "head: 7 -> 3 classes, drawn anew (seed 0): to be trained",
        "head_dist: 7 -> 3 classes, drawn anew (seed 0): to be trained",
    ]
    config = micro_config("deit_tiny_patch16_224", num_classes=0, in_chans=4)
    assert adapted(micro_config(), config)[1] == [
        "patch_embed.proj.weight: 3 -> 4 channels, in turn, times 3/4",
        "head: 7 classes left out",
    ]
    name = "swin_tiny_patch4_window7_224"
    config = vit_tf.get_config(name, **{**SWIN, "img_size": 64, "window_size": (8, 3)})
    assert adapted(vit_tf.get_config(name, **SWIN), config)[1] == [
        f"layers.{i}: tables of position biases for windows of 4 x 4 -> 8 x 3, linear "
        "in geometric steps"
        for i in range(2)
    ]


def test_shapes_tell_what_is_not_stated():
    """Square grids and windows, patches, channels and classes."""
    stored, config = micro_config(), micro_config(img_size=(48, 64), patch_size=8,
                                                  in_chans=1)  # fmt: skip
    expected, notes = adapted(stored, config)
    found, same_notes = adapt(
        tensors_for(stored), {}, config.model.to_dict(), config.model_class
    )
    assert same_notes == notes
    assert len(notes) == 3
    for name, tensor in expected.items():
        np.testing.assert_array_equal(found[name], tensor)


def test_tables_of_windows_that_are_not_square():
    """timm, which is not told the old window, refuses them."""
    name = "swin_tiny_patch4_window7_224"
    stored = vit_tf.get_config(name, **{**SWIN, "window_size": (4, 2)})
    config = vit_tf.get_config(name, **{**SWIN, "window_size": (3, 4)})
    tensors = tensors_for(stored)
    table = "layers.0.blocks.0.attn.relative_position_bias_table"
    found, _ = adapted(stored, config, tensors)
    expected = timm.layers.resize_rel_pos_bias_table(
        torch.from_numpy(tensors[table]), (3, 4), (5 * 7, 1), old_window_size=(4, 2)
    )
    assert_close(found[table], expected.numpy())
    with pytest.raises(CheckpointError) as raised:
        adapted(stored, config, tensors, window_size=5)
    listed, _, expected = str(raised.value).partition("; expected: ")
    assert sorted(listed.split("; ")) == [
        f"layers.{block}.attn.relative_position_bias_table has 21 rows, a window of "
        "5 x 5 others"
        for block in ("0.blocks.0", "0.blocks.1")
    ] + [
        "layers.1.blocks.0.attn.relative_position_bias_table has 21 rows, a window of "
        "4 x 4 others"
    ]
    assert expected == (
        "square windows, or the window_size and img_size that the checkpoint was made "
        "for"
    )


def test_positions_of_no_known_grid():
    stored, config = micro_config(img_size=(32, 48)), micro_config(img_size=64)
    with pytest.raises(CheckpointError) as raised:
        adapted(stored, config, img_size=80)
    assert str(raised.value) == (
        "pos_embed: 6 patches found, which are neither a square nor the 5 x 5 of "
        "img_size=80; expected: the img_size that the checkpoint was made for"
    )


def test_a_linear_patch_embedding_becomes_a_convolution():
    stored, config = micro_config(), micro_config(in_chans=1, img_size=64)
    tensors = tensors_for(stored)
    name = "patch_embed.proj.weight"
    flat = tensors | {name: tensors[name].reshape(24, -1)}
    found, notes = adapted(stored, config, flat)
    assert f"{name}: a linear projection -> patches of 16 x 16" in notes
    expected = timms(config, flat, stored)
    np.testing.assert_array_equal(found[name], expected[name])
    assert_close(found["pos_embed"], expected["pos_embed"])
    smaller = micro_config(patch_size=8)
    found, notes = adapted(stored, smaller, flat)
    expected = resample_patch_embed(tensors[name], (8, 8))
    np.testing.assert_array_equal(found[name], expected)


def test_a_new_head_is_small_and_the_same_each_time():
    stored, config = (
        micro_config(embed_dim=96),
        micro_config(embed_dim=96, num_classes=500),
    )
    found, _ = adapted(stored, config)
    again, _ = adapted(stored, config)
    other, _ = adapt(
        tensors_for(stored), {}, config.model.to_dict(), config.model_class, seed=1
    )
    weight = found["head.weight"]
    assert weight.shape == (500, 96)
    assert weight.dtype == np.float32
    np.testing.assert_allclose(weight.std(), 0.02, rtol=0.02)
    np.testing.assert_array_equal(again["head.weight"], weight)
    assert not np.array_equal(other["head.weight"], weight)
    np.testing.assert_array_equal(found["head.bias"], np.zeros(500, np.float32))


@pytest.mark.parametrize("pool", ["avg", "catavgmax"])
def test_a_head_where_there_was_none(pool):
    name = "swin_tiny_patch4_window7_224"
    arguments = {**SWIN, "global_pool": pool}
    stored = vit_tf.get_config(name, **{**arguments, "num_classes": 0})
    config = vit_tf.get_config(name, **arguments)
    found, notes = adapted(stored, config)
    assert notes == ["head.fc: 0 -> 7 classes, drawn anew (seed 0): to be trained"]
    shapes = {name: tensor.shape for name, tensor in found.items()}
    assert shapes == source.parameter_shapes(config)


def test_a_head_that_is_missing_is_not_drawn():
    tensors = tensors_for(micro_config())
    del tensors["head.weight"]
    assert adapted(micro_config(), micro_config(), tensors) == (tensors, [])


@pytest.mark.parametrize("dtype", [np.float16, ml_dtypes.bfloat16])
def test_half_precision_stays(dtype):
    stored = micro_config()
    config = micro_config(img_size=48, patch_size=8, in_chans=4)
    tensors = {k: v.astype(dtype) for k, v in tensors_for(stored).items()}
    found, notes = adapted(stored, config, tensors)
    assert len(notes) == 3
    assert {tensor.dtype for tensor in found.values()} == {np.dtype(dtype)}


@pytest.mark.parametrize("case", ["ViT", "distilled", "CaiT", "Swin, windows"])
def test_tensors_without_the_axes_that_they_should_have_are_left_alone(case):
    """The mapping lists all that does not fit, by name."""
    name, arguments, changes = CASES[case]
    stored = vit_tf.get_config(name, **arguments)
    config = vit_tf.get_config(name, **{**arguments, **changes})
    tensors = tensors_for(stored)
    for key in tensors:
        for shape in ((), (2,), (1, 2, 3, 4, 5)):
            odd = np.zeros(shape, np.float32)
            found, _ = adapted(stored, config, tensors | {key: odd})
            assert found[key].shape == shape or key.startswith("head")
            others = {name: found[name] for name in found if name != key}
            assert len(others) == len(tensors) - 1
    with_another = tensors | {
        "layers.9.blocks.0.attn.relative_position_bias_table": odd
    }
    assert len(adapted(stored, config, with_another)[0]) == len(with_another)
