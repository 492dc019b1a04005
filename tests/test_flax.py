"""Original JAX files: as timm reads them, and as the original function runs them."""

import dataclasses

import numpy as np
import pytest
from flax_vit import Kind, logits, random_parameters

import vit_tf
from vit_tf import jax_function, mapping, proof, source
from vit_tf.checkpoints import dialects
from vit_tf.checkpoints.dialects import flax
from vit_tf.checkpoints.errors import UnknownLayoutError
from vit_tf.reference import timm, timm_arguments

BIG_VISION = dict(naming="new", positions="pos_embedding", token_position=False)
KINDS = {
    "augreg": Kind(),
    "sam, with the optimizer": Kind(root="opt/target/"),
    "in21k, with pre_logits": Kind(pre_logits=True),
    "in21k, with pre_logits alone": Kind(pre_logits=True, classes=0),
    "hybrid": Kind(image=32, patch=1, units=(2, 1)),
    "hybrid, older": Kind(image=32, patch=1, units=(1, 2), old_norms=True),
    "hybrid's stem": Kind(image=64, patch=8, units=()),
    "big_vision": Kind(root="params/", pool="gap", **BIG_VISION),
    "big_vision, a token": Kind(**BIG_VISION),
    "big_vision, stacked": Kind(
        root="params/", pool="gap", **{**BIG_VISION, "naming": "stacked"}
    ),
    "siglip": Kind(root="params/img/", pool="map", classes=0, **BIG_VISION),
    "siglip, stacked": Kind(
        root="params/img/", pool="map", **{**BIG_VISION, "naming": "stacked"}
    ),
}
# What timm does not read: its own names for what Flax renamed.
OURS_ALONE = {
    "saved again by linen": Kind(naming="new"),
    "big_vision before 2022": Kind(
        naming="new", positions="Transformer/pos_embedding", pool="gap"
    ),
    "lit": Kind(root="img/", naming="old"),
}
HYBRIDS = ["hybrid", "hybrid's stem"]


def configuration(kind: Kind, *, classes: int | None = None):
    """The configuration of timm's model for a file."""
    arguments = dict(
        img_size=kind.image,
        patch_size=kind.patch,
        embed_dim=kind.width,
        depth=kind.depth,
        num_heads=kind.heads,
        num_classes=0 if kind.pre_logits else kind.classes,
        global_pool={"gap": "avg"}.get(kind.pool, kind.pool),
        class_token=kind.pool == "token",
        no_embed_class=not kind.token_position,
        fc_norm=False,
    )
    if classes is not None:
        arguments["num_classes"] = classes
    if kind.units is None:
        return vit_tf.get_config("vit_tiny_patch16_224", **arguments)
    channels = kind.channels[: len(kind.units)] or None
    return vit_tf.get_config(
        "vit_small_r26_s32_224",
        backbone_layers=kind.units,
        backbone_channels=channels,
        **arguments,
    )


def translated(kind: Kind, parameters=None):
    return flax.translate(parameters or random_parameters(kind), {})


def loaded_by_timm(config, parameters, path) -> dict[str, np.ndarray]:
    np.savez(path, **parameters)
    arguments = timm_arguments(proof.shared_arguments(config))
    model = timm.create_model(config.architecture, **arguments)
    model.load_pretrained(str(path))
    return {name: tensor.numpy() for name, tensor in model.state_dict().items()}


def jax_configuration(kind: Kind):
    config = configuration(kind)
    config.parity.reference = "jax"
    return jax_function.configured(config)


def close(found: np.ndarray, expected: np.ndarray) -> None:
    scale = np.abs(expected).max()
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-12 * scale)


@pytest.mark.parametrize("name", KINDS)
def test_tensors_are_those_that_timm_loads(name, tmp_path):
    kind = KINDS[name]
    parameters = random_parameters(kind)
    expected = loaded_by_timm(configuration(kind), parameters, tmp_path / "file.npz")
    with np.load(tmp_path / "file.npz") as file:
        tensors = dict(flax.translate(file, {}).tensors)
    assert tensors.keys() == expected.keys()
    for key, tensor in tensors.items():
        assert tensor.dtype == np.float32
        np.testing.assert_array_equal(tensor, expected[key], err_msg=key)


@pytest.mark.parametrize("name", [*KINDS, *OURS_ALONE])
def test_the_model_computes_what_the_original_does(name):
    kind = (KINDS | OURS_ALONE)[name]
    parameters = random_parameters(kind)
    config = jax_configuration(kind)
    images = proof.random_images(config).astype("float64")
    without = dataclasses.replace(kind, pre_logits=False)
    if kind.pre_logits:  # timm's model gives what that layer is given
        without = dataclasses.replace(without, classes=0)
    expected = logits(without, parameters, images)
    tensors = translated(kind, parameters).tensors
    close(proof.filled(config, tensors, "float64")(images).numpy(), expected)
    close(proof.original(config, tensors, "float64").logits(images), expected)


@pytest.mark.parametrize("name", ["augreg", *HYBRIDS, "siglip"])
def test_every_layer_with_jaxs_constants_is_timms(name):
    config = jax_configuration(KINDS[name])
    tensors, images = translated(KINDS[name]).tensors, proof.random_images(config)
    reference = proof.timm_outputs(config, tensors, images, "float32")
    model = proof.filled(config, tensors, "float32")
    [report] = proof.compare_with_timm(config, reference, model, images, "float32")
    assert report.passed
    config.parity.gradients = True
    [gradients] = proof.prove_in_float64(config, tensors, images)
    assert gradients.passed


@pytest.mark.parametrize("name", ["augreg", *HYBRIDS])
def test_how_far_timms_function_is_from_jaxs_is_measured(name):
    kind = KINDS[name]
    config = configuration(kind)
    parameters, images = random_parameters(kind), proof.random_images(config)
    tensors = translated(kind, parameters).tensors
    found = jax_function.distance(config, tensors, images)
    jax = logits(kind, parameters, images)
    timm_logits = proof.original(config, tensors, "float64").logits(images)
    expected = np.abs(timm_logits - jax).max() / np.abs(jax).max()
    assert found.relative == pytest.approx(expected, rel=0.02)
    assert 1e-5 < found.relative < 1e-2


def test_timm_is_the_reference_unless_jax_is_asked_for():
    config = configuration(Kind())
    assert jax_function.configured(config) is config
    assert jax_configuration(Kind()).model.act_layer == "gelu_tanh"
    assert config.model.act_layer == "gelu"  # as it was
    hybrid = jax_configuration(KINDS["hybrid"])
    assert hybrid.model.backbone == "resnetv2_flax"
    assert jax_function.jax_arguments(hybrid)["backbone"] == "resnetv2_flax"


def test_an_unknown_reference_is_an_error():
    config = configuration(Kind())
    config.parity.reference = "keras"
    message = r"config\.parity\.reference='keras' found, timm or jax expected"
    with pytest.raises(ValueError, match=message):
        jax_function.configured(config)


@pytest.mark.parametrize(
    "name", ["swin_tiny_patch4_window7_224", "vit_small_resnet26d_224"]
)
def test_what_jax_does_not_have_is_an_error(name):
    config = vit_tf.get_config(name)
    config.parity.reference = "jax"
    message = f"{name} of {config.family} found; expected: a model of vision_transf"
    with pytest.raises(ValueError, match=message):
        jax_function.configured(config)


@pytest.mark.parametrize("name", [*KINDS, *OURS_ALONE])
def test_the_file_is_recognised_and_says_what_timms_tensors_cannot(name):
    kind = (KINDS | OURS_ALONE)[name]
    parameters = random_parameters(kind)
    assert dialects.detect(parameters).name == "flax"
    translation = translated(kind, parameters)
    hybrid = "_hybrid" * (kind.units is not None)
    assert translation.family == f"vision_transformer{hybrid}"
    config = configuration(kind)
    for argument, value in translation.arguments.items():
        assert config.model[argument] == value
    expected = {"num_heads", "global_pool"} | (
        {"fc_norm"} if kind.pool == "gap" else set()
    )
    assert translation.arguments.keys() == expected


def test_the_other_dialects_files_are_not_taken_for_it():
    config = configuration(Kind())
    assert dialects.detect(source.parameter_shapes(config)).name == "timm"


def test_a_head_behind_pre_logits_goes_with_it():
    """timm would keep it, and compute nonsense: it never saw the class token."""
    kind = KINDS["in21k, with pre_logits"]
    left_out = translated(kind).left_out
    assert left_out.keys() == {
        f"{name}/{part}"
        for name in ("pre_logits", "head")
        for part in ("kernel", "bias")
    }
    assert "timm's models no longer have" in left_out["pre_logits/kernel"]
    assert "would compute nonsense" in left_out["head/kernel"]


def test_timm_keeps_that_head(tmp_path):
    """Why ours differs: where this fails, timm has changed its mind."""
    kind = KINDS["in21k, with pre_logits"]
    parameters = random_parameters(kind)
    config = configuration(kind, classes=kind.classes)
    found = loaded_by_timm(config, parameters, tmp_path / "file.npz")
    np.testing.assert_array_equal(found["head.weight"], parameters["head/kernel"].T)


BESIDE = {
    "siglip": {
        "params/txt/Encoder_0/encoderblock_0/LayerNorm_0/scale": "text tower",
        "params/t": "text tower",
        "params/b": "text tower",
        "opt/0/mu/img/embedding/kernel": "optimizer",
        "chrono/prev_time": "clock",
    },
    "lit": {"txt/Encoder_0/embedding/kernel": "text tower", "t": "text tower"},
    "sam, with the optimizer": {
        "opt/state/step": "optimizer",
        "opt/state/param_states/head/kernel/momentum": "optimizer",
    },
}


@pytest.mark.parametrize("name", BESIDE)
def test_what_is_beside_the_model_is_named_and_left_out(name):
    kind, beside = (KINDS | OURS_ALONE)[name], BESIDE[name]
    parameters = random_parameters(kind) | dict.fromkeys(beside, np.ones(3))
    translation = translated(kind, parameters)
    assert translation.left_out.keys() == beside.keys()
    for left_out, reason in translation.left_out.items():
        assert beside[left_out] in reason
    assert translation.tensors.keys() == translated(kind).tensors.keys()


def test_a_text_tower_of_other_heads_does_not_count():
    kind = KINDS["siglip, stacked"]
    name = (
        "params/txt/Encoder_0/encoderblock/MultiHeadDotProductAttention_0/query/kernel"
    )
    parameters = random_parameters(kind) | {name: np.ones((5, 4, 2, 2))}
    assert translated(kind, parameters).arguments["num_heads"] == kind.heads


def test_what_is_unknown_or_missing_is_the_mappings_to_say():
    kind = Kind()
    parameters = random_parameters(kind)
    block = "Transformer/encoderblock_1/MultiHeadDotProductAttention_1"
    del parameters[f"{block}/key/bias"]
    parameters["Transformer/encoderblock_1/scale"] = np.ones(3, np.float32)
    tensors = translated(kind, parameters).tensors
    with pytest.raises(mapping.MappingError) as error:
        proof.filled(configuration(kind), tensors, "float32")
    for line in (
        "- blocks.1.attn.qkv.bias: in the model only",
        f"+ {block}/query/bias: in the checkpoint only",
        f"+ {block}/value/bias: in the checkpoint only",
        "+ Transformer/encoderblock_1/scale: in the checkpoint only",
    ):
        assert line in str(error.value)
    assert "(4 problems)" in str(error.value)


def test_every_tensor_of_another_shape_than_its_name_stands_for_is_named():
    parameters = random_parameters(Kind())
    at = "Transformer/encoderblock_0/MultiHeadDotProductAttention_1"
    changed = {
        "embedding/kernel": (192, 24),  # as NaFlex has it
        "cls": (24,),
        "head/kernel": (0, 7),
        f"{at}/key/kernel": (20, 3, 8),
        "norm.bias": (24,),
    }
    parameters |= {name: np.ones(shape) for name, shape in changed.items()}
    with pytest.raises(UnknownLayoutError) as error:
        translated(Kind(), parameters)
    kernels = [
        f"{at}/{name}/kernel ({width}, 3, 8)"
        for name, width in (("query", 24), ("key", 20), ("value", 24))
    ]
    assert sorted(str(error.value).splitlines()) == [
        f"{', '.join(kernels)} found; expected: the same shape",
        "cls: shape (24,) found; expected: 3 axes, none of them empty",
        "embedding/kernel: shape (192, 24) found; expected: 4 axes, none of them empty",
        "head/kernel: shape (0, 7) found; expected: 2 axes, none of them empty",
        "norm.bias found beside Transformer/encoder_norm/bias; expected: one of them",
    ]


def test_blocks_of_different_heads_are_an_error():
    parameters = random_parameters(Kind())
    at = "Transformer/encoderblock_1/MultiHeadDotProductAttention_1"
    for name in ("query", "key", "value"):
        parameters[f"{at}/{name}/kernel"] = np.ones((24, 4, 6), np.float32)
        parameters[f"{at}/{name}/bias"] = np.ones((4, 6), np.float32)
    with pytest.raises(UnknownLayoutError, match="blocks of 3 or 4 heads found"):
        translated(Kind(), parameters)


@pytest.mark.parametrize("shape", [(3, 24), ()])
def test_stacks_of_different_depth_are_an_error(shape):
    kind = KINDS["big_vision, stacked"]
    parameters = random_parameters(kind)
    parameters["params/Transformer/encoderblock/LayerNorm_0/scale"] = np.ones(shape)
    message = f"stacks of {'0 or 2' if not shape else '2 or 3'} blocks found"
    with pytest.raises(UnknownLayoutError, match=message):
        translated(kind, parameters)


def test_another_file_said_to_be_one_is_an_error():
    message = "tensors named norm.weight found; expected: embedding/kernel, at the top"
    with pytest.raises(UnknownLayoutError, match=message):
        flax.translate({"norm.weight": np.ones(3)}, {})


def test_a_stack_is_read_once():
    kind = KINDS["siglip, stacked"]
    read: list[str] = []

    class Counted(dict):
        def __getitem__(self, name):
            read.append(name)
            return super().__getitem__(name)

    tensors = translated(kind, Counted(random_parameters(kind))).tensors
    before = len(read)
    for name in tensors:
        tensors[name]
    assert not [name for name in read[before:] if "/encoderblock/" in name]


@pytest.mark.parametrize("dtype", ["float16", "float64"])
def test_precision_is_the_files(dtype):
    parameters = {k: v.astype(dtype) for k, v in random_parameters(Kind()).items()}
    tensors = translated(Kind(), parameters).tensors
    assert {tensor.dtype for tensor in tensors.values()} == {np.dtype(dtype)}
