"""What is particular to Swin and Swin V2: windows, shifts, sizes, the pyramid."""

import re

import keras
import numpy as np
import pytest
import tensorflow as tf
from micro import random_tensors

import vit_tf
from vit_tf import activations, mapping, models, proof
from vit_tf.checkpoints.rel_pos_bias import resize_rel_pos_bias_table
from vit_tf.export import saved_model
from vit_tf.layers.inverse_length import inverse_length
from vit_tf.layers.relative_position import relative_position_index
from vit_tf.layers.shift_regions import masks_between, shift_regions, window_kinds
from vit_tf.layers.window import pad_to_windows, window_partition, window_reverse
from vit_tf.layers.window_attention import WindowAttention
from vit_tf.layers.window_attention_v2 import relative_coords_table
from vit_tf.layers.window_sizes import calc_stage_window_sizes
from vit_tf.reference import timm, torch

V1, V2 = "swin_tiny_patch4_window7_224", "swinv2_base_window12to16_192to256"
NAMES = [V1, V2]
pytestmark = pytest.mark.filterwarnings(  # of torch on timm's interpolation
    "ignore:torch.searchsorted:UserWarning", "ignore:Using a non-tuple:UserWarning"
)
swin, swin_v2 = timm.models.swin_transformer, timm.models.swin_transformer_v2

# Two stages, the first with a block that shifts and one that does not.
MICRO = dict(depths=(2, 1), num_heads=(1, 2), embed_dim=8, window_size=3)


def micro(name: str, **arguments):
    return models.small_config(name, **{**MICRO, **arguments})


def images_of(*shape: int) -> np.ndarray:
    return np.random.default_rng(0).standard_normal(shape)


def pair(config, dtype: str = "float64"):
    """timm's module and our model, with the same random weights."""
    tensors = random_tensors(config)
    reference = proof.original(config, tensors, dtype).module
    return reference, proof.filled(config, tensors, dtype)


def channels_first(images: np.ndarray) -> torch.Tensor:
    return torch.from_numpy(np.ascontiguousarray(images.transpose(0, 3, 1, 2)))


def timm_logits(module, images: np.ndarray) -> np.ndarray:
    with torch.inference_mode():
        return module(channels_first(images)).numpy()


def check_layers_and_gradients(config) -> dict[str, np.ndarray]:
    tensors, images = random_tensors(config), proof.random_images(config)
    reference = proof.timm_outputs(config, tensors, images, "float64")
    model = proof.filled(config, tensors, "float64")
    proof.compare_with_timm(config, reference, model, images, "float64")
    proof.compare_gradients(config, tensors, model, images).check()
    return reference


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize(
    "arguments",
    [
        dict(img_size=(44, 28)),  # 11 x 7 tokens: padded below and on the right
        dict(img_size=(8, 44)),  # shrinks and does not shift in height alone
        dict(img_size=(8, 8)),  # is one window
        dict(img_size=(8, 24), always_partition=True),
        dict(img_size=(32, 36), window_size=(2, 3)),
        dict(img_size=(32, 36), window_size=((4, 2), (1, 2))),
        dict(img_size=(35, 50), patch_size=(4, 6)),  # no multiples of the patch
        dict(qkv_bias=False),
        dict(drop_path_rate=0.2),
        dict(in_chans=1, mlp_ratio=2.0),
    ],
    ids=str,
)
def test_layers_and_gradients_are_timms(name, arguments):
    check_layers_and_gradients(micro(name, **arguments))


def test_width_of_a_head_is_an_argument():
    outputs = check_layers_and_gradients(micro(V1, head_dim=6))
    assert outputs["layers.1.blocks.0.attn.qkv"].shape[-1] == 3 * 2 * 6


@pytest.mark.parametrize("pool", ["", "avg", "max", "avgmax", "catavgmax"])
@pytest.mark.parametrize("num_classes", [0, 5])
def test_pools_are_timms(pool, num_classes):
    config = micro(V1, depths=(1,), num_heads=(2,), num_classes=num_classes)
    config.model.global_pool = pool
    logits = check_layers_and_gradients(config)["logits"]
    width = num_classes or 8 * (2 if pool == "catavgmax" else 1)
    assert logits.shape == ((2, 12, 8, width) if pool == "" else (2, width))


@pytest.mark.parametrize("name", NAMES)
def test_one_graph_takes_images_of_any_size_as_timm_does(name):
    reference, model = pair(micro(name, dynamic_img_size=True))
    spec = tf.TensorSpec((None, None, None, 3), tf.float64)
    graph = tf.function(model, autograph=False).get_concrete_function(spec)
    for height, width in ((48, 32), (36, 40), (20, 28), (8, 12), (4, 100)):
        images = images_of(2, height, width, 3)
        expected = timm_logits(reference, images)
        np.testing.assert_allclose(graph(images), expected, rtol=0, atol=1e-10)
        np.testing.assert_allclose(model(images), expected, rtol=0, atol=1e-10)


def test_not_strict_is_dynamic():
    model = models.build(micro(V1, strict_img_size=False))
    assert model.dynamic_img_size
    assert model(images_of(1, 20, 28, 3)).shape == (1, 7)
    model = models.build(micro(V1))
    assert not model.dynamic_img_size
    with pytest.raises(ValueError, match="20 x 28 pixels given to a model of 48 x 32"):
        model(images_of(1, 20, 28, 3))


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("dynamic", [False, True])
def test_the_pyramid_is_timms(name, dynamic):
    config = models.small_config(name, dynamic_img_size=dynamic)
    reference, model = pair(config)
    images = images_of(2, *((44, 68) if dynamic else model.img_size), 3)
    assert [row["reduction"] for row in model.feature_info] == [4, 8, 16, 32]
    assert model.feature_info == reference.feature_info
    with torch.inference_mode():
        final, expected = reference.forward_intermediates(channels_first(images))
    features, found = model.forward_intermediates(images)
    np.testing.assert_allclose(features, final, rtol=0, atol=1e-10)
    assert len(found) == 4
    for ours, theirs in zip(found, expected, strict=True):
        theirs = theirs.permute(0, 2, 3, 1)
        np.testing.assert_allclose(ours, theirs, rtol=0, atol=1e-10)
    shapes = [ours.shape for ours in found]
    picked = model.forward_intermediates(images, [2, 0], intermediates_only=True)
    assert [x.shape for x in picked] == [shapes[0], shapes[2]]
    [last] = model.forward_intermediates(images, 1, norm=True, intermediates_only=True)
    np.testing.assert_array_equal(last, features)
    with pytest.raises(ValueError, match="of 4 features"):
        model.forward_intermediates(images, [4])


def windows_by_table(model) -> dict[str, tuple[int, int]]:
    return {
        f"{name}.relative_position_bias_table": layer.window_size
        for layer, name in mapping.named_layers(model)
        if isinstance(layer, WindowAttention)
    }


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize(
    "change",
    [
        dict(img_size=(64, 44)),
        dict(img_size=(24, 16)),
        dict(img_size=(64, 32), window_size=(4, 5)),
        dict(img_size=(40, 40), window_size=(2, 5), always_partition=True),
        dict(img_size=(64, 48), window_ratio=(4, 2)),
    ],
    ids=str,
)
def test_another_image_size_is_timms_set_input_size(name, change):
    config = micro(name)
    tensors = random_tensors(config)
    reference = proof.original(config, tensors, "float32").module
    reference.set_input_size(**change)
    change = dict(change)
    window_size = calc_stage_window_sizes(
        tuple(size // 4 for size in change["img_size"]),
        ((3, 3), (3, 3)),
        (12, 8),
        window_ratio=change.pop("window_ratio", None),
    )
    resized = micro(name, **{"window_size": window_size, **change})
    model = models.build(resized, dtype="float32")
    old, new = windows_by_table(models.build(config)), windows_by_table(model)
    edited = {
        key: resize_rel_pos_bias_table(tensor, new[key], old[key])
        if key in new
        else tensor
        for key, tensor in tensors.items()
    }
    mapping.assign(model, edited)
    images = images_of(2, *model.img_size, 3).astype(np.float32)
    expected = timm_logits(reference, images)
    scale = np.abs(expected).max()
    np.testing.assert_allclose(model(images), expected, rtol=0, atol=1e-5 * scale)
    for stage, theirs in zip(model.stages, reference.layers, strict=True):
        for block, other in zip(stage.blocks, theirs.blocks, strict=True):
            assert block.window_size == tuple(other.window_size)
            assert block.shift_size == tuple(other.shift_size)


@pytest.mark.parametrize("old", [(7, 7), (3, 5), (12, 12), (1, 1), (2, 7)])
@pytest.mark.parametrize("new", [(7, 7), (12, 12), (4, 4), (3, 9), (1, 1), (24, 24)])
def test_resized_tables_are_timms(old, new):
    rows = [(2 * height - 1) * (2 * width - 1) for height, width in (old, new)]
    table = images_of(rows[0], 3).astype(np.float32)
    expected = timm.layers.resize_rel_pos_bias_table(
        torch.from_numpy(table), new, (rows[1], 3), old
    )
    found = resize_rel_pos_bias_table(table, new, old)
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, expected, rtol=0, atol=2e-6)
    if old[0] == old[1]:
        np.testing.assert_array_equal(resize_rel_pos_bias_table(table, new), found)


def test_a_table_of_another_window_is_an_error():
    with pytest.raises(
        ValueError, match=r"table of 15 .* window of 3 x 3, which has 25"
    ):
        resize_rel_pos_bias_table(np.zeros((15, 2)), (4, 4), (3, 3))
    with pytest.raises(
        ValueError, match=r"table of 15 .* window of 2 x 2, which has 9"
    ):
        resize_rel_pos_bias_table(np.zeros((15, 2)), (4, 4))


@pytest.mark.parametrize(
    ("size", "window", "shift"),
    [
        ((6, 9), (3, 3), (1, 1)),
        ((7, 5), (3, 4), (1, 2)),
        ((8, 8), (4, 4), (0, 2)),
        ((2, 9), (3, 3), (1, 1)),
    ],
)
def test_masks_are_those_that_timm_makes_for_each_window(size, window, shift):
    block = swin.SwinTransformerBlock(
        8, size, window_size=window, shift_size=shift, always_partition=True
    )
    grid = [-(-s // w) for s, w in zip(size, window, strict=True)]
    masks = masks_between(shift_regions(window, shift), tf.float32).numpy()
    expected = block.attn_mask.numpy()
    np.testing.assert_array_equal(masks[window_kinds(*grid).numpy()], expected)
    in_graph = tf.function(window_kinds)(*map(tf.constant, grid))
    np.testing.assert_array_equal(masks[in_graph.numpy()], expected)


@pytest.mark.parametrize("window", [(1, 1), (7, 7), (3, 5), (24, 24)])
def test_relative_positions_are_timms(window):
    expected = swin.get_relative_position_index(*window)
    np.testing.assert_array_equal(relative_position_index(window), expected)
    for pretrained in ((0, 0), (6, 6), (12, 12), (1, 1)):
        attention = swin_v2.WindowAttention(
            8, window, 2, pretrained_window_size=pretrained
        )
        found = relative_coords_table(window, pretrained)
        np.testing.assert_array_equal(found, attention.relative_coords_table)


def test_windows_are_timms_and_put_together_again():
    x = images_of(2, 5, 7, 3)
    padded = pad_to_windows(tf.constant(x), (3, 2))
    assert padded.shape == (2, 6, 8, 3)
    windows = window_partition(padded, (3, 2))
    expected = swin.window_partition(torch.from_numpy(padded.numpy()), (3, 2))
    np.testing.assert_array_equal(windows, expected.reshape(-1, 6, 3))
    back = window_reverse(windows, (3, 2), (6, 8))
    np.testing.assert_array_equal(back[:, :5, :7], x)
    np.testing.assert_array_equal(back, padded)


@pytest.mark.parametrize("dtype", ["float16", "bfloat16", "float32", "float64"])
def test_a_zero_vector_stays_zero_and_its_gradient_finite(dtype):
    x = tf.constant([[0.0, 0.0], [3.0, 4.0]], dtype)
    with tf.GradientTape() as tape:
        tape.watch(x)
        y = x * inverse_length(x)
    gradient = tape.gradient(y, x)
    assert y.dtype == gradient.dtype == x.dtype
    y = tf.cast(y, tf.float64)
    np.testing.assert_allclose(y, [[0, 0], [0.6, 0.8]], rtol=0, atol=4e-3)
    assert np.isfinite(tf.cast(gradient, tf.float64)).all()


@pytest.mark.parametrize("name", NAMES)
def test_xla_compiles_a_model_of_fixed_size(name):
    config = micro(name, img_size=(44, 28), depths=(2,), num_heads=(2,))
    model = proof.filled(config, random_tensors(config), "float64")
    images = tf.constant(images_of(2, 44, 28, 3))

    @tf.function(jit_compile=True, autograph=False)
    def compiled(images):
        with tf.GradientTape() as tape:
            loss = tf.reduce_sum(model(images, training=True) ** 2)
        return loss, tape.gradient(loss, model.trainable_weights[0].value)

    with tf.GradientTape() as tape:
        loss = tf.reduce_sum(model(images, training=True) ** 2)
    gradient = tape.gradient(loss, model.trainable_weights[0].value)
    found_loss, found_gradient = compiled(images)
    np.testing.assert_allclose(found_loss, loss, rtol=1e-12)
    np.testing.assert_allclose(found_gradient, gradient, rtol=1e-8, atol=1e-10)


@pytest.mark.parametrize("policy", ["mixed_bfloat16", "mixed_float16"])
@pytest.mark.parametrize("name", NAMES)
def test_mixed_precision_is_near_and_trains_on_padded_windows(policy, name):
    config = micro(name, img_size=(44, 28))
    tensors = random_tensors(config)
    full = proof.filled(config, tensors, "float32")
    mixed = proof.filled(config, tensors, policy)
    images = images_of(2, 44, 28, 3).astype(np.float32)
    with tf.GradientTape() as tape:
        logits = mixed(images, training=True)
        loss = tf.reduce_mean(logits**2)
    gradients = tape.gradient(loss, [w.value for w in mixed.trainable_weights])
    assert all(np.isfinite(gradient).all() for gradient in gradients)
    assert logits.dtype == tf.float32
    expected = full(images).numpy()
    error = np.abs(logits - expected).max()
    epsilon = {"mixed_bfloat16": 2**-8, "mixed_float16": 2**-11}[policy]
    assert error < 16 * epsilon * np.abs(expected).max()
    dtypes = vit_tf.record(mixed, images, each=lambda name, output: str(output.dtype))
    half = policy.removeprefix("mixed_")
    assert dtypes["layers.0.blocks.1.attn.attn_drop"] == half
    assert dtypes["layers.0.blocks.1.mlp.fc1"] == half
    assert dtypes["layers.0"] == dtypes["layers.1.downsample"] == "float32"


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("window_size", [3, (2, 3), ((4, 2), (1, 2))])
def test_the_keras_format_keeps_model_and_weights(tmp_path, name, window_size):
    model = models.build(
        micro(name, window_size=window_size, dynamic_img_size=True, drop_rate=0.1)
    )
    model.save(tmp_path / "model.keras")
    loaded = keras.models.load_model(tmp_path / "model.keras")
    assert type(loaded) is type(model)
    assert loaded.get_config() == model.get_config()
    images = images_of(2, 20, 24, 3)
    np.testing.assert_array_equal(loaded(images), model(images))


@pytest.mark.parametrize("name", NAMES)
def test_get_config_has_every_argument_as_a_plain_value(name):
    config = micro(name, window_size=((4, 2), (1, 2)))
    model = models.build(config)
    found = model.get_config()
    for argument, value in config.model.to_dict().items():
        expected = (value, value) if argument == "patch_size" else value
        assert found[argument] == expected
    assert type(model).from_config(found).get_config() == found


@pytest.mark.usefixtures("graph_as_traced")
@pytest.mark.parametrize("name", NAMES)
def test_a_saved_model_takes_images_of_any_size(tmp_path, name):
    config = micro(name, dynamic_img_size=True)
    model = proof.filled(config, random_tensors(config), "float32")
    saved_model.save(model, tmp_path)
    loaded = tf.saved_model.load(str(tmp_path))
    for height, width in ((48, 32), (20, 28)):
        images = images_of(2, height, width, 3).astype(np.float32)
        expected = model(images)
        scale = np.abs(expected).max()
        np.testing.assert_allclose(loaded(images), expected, rtol=0, atol=1e-5 * scale)
    probabilities = loaded.signatures["attention"](images=tf.constant(images))
    assert len(probabilities) == 3
    found = probabilities["layers.0.blocks.1.attn.attn_drop"]  # 5 x 7 tokens
    assert found.shape == (2 * 2 * 3, 1, 9, 9)
    np.testing.assert_allclose(tf.reduce_sum(found, -1), 1, rtol=0, atol=1e-6)


def test_blocks_that_shift_alike_are_repeated():
    depths = dict(depths=(4, 2))
    model = models.build(micro(V1, **depths))
    names = [[block.name for block in group] for group in model.repeated_blocks]
    assert names == [["blocks.0", "blocks.2"], ["blocks.1", "blocks.3"]]
    alone = models.build(micro(V1, img_size=(8, 8), **depths))  # nothing shifts
    assert [len(group) for group in alone.repeated_blocks] == [4, 2]


def test_attention_is_reached_by_name():
    model = models.build(micro(V2))
    name = "layers.0.blocks.0.attn.attn_drop"
    outputs = tf.function(activations.outputs(model, [name]))
    found = outputs(images_of(2, 48, 32, 3))[name]
    assert found.shape == (2 * 4 * 3, 1, 9, 9)  # windows, heads, tokens, tokens


@pytest.mark.parametrize("name", NAMES)
def test_drop_rates_are_timms(name):
    rates = dict(
        drop_rate=0.1, proj_drop_rate=0.2, attn_drop_rate=0.3, drop_path_rate=0.4
    )
    config = micro(name, **rates)
    reference, model = pair(config)
    expected = {
        key: getattr(module, "p", None) or module.drop_prob
        for key, module in reference.named_modules()
        if isinstance(module, (torch.nn.Dropout, timm.layers.DropPath))
    }
    layers = mapping.named_layers(model)
    found = {n: x.rate for x, n in layers if isinstance(x, keras.layers.Dropout)}
    assert found == pytest.approx(expected, abs=1e-7)
    images = images_of(4, 48, 32, 3)
    assert np.isfinite(model(images, training=True)).all()
    assert np.any(model(images, training=True) != model(images))


@pytest.mark.parametrize("name", NAMES)
def test_a_new_model_is_initialised_as_timm_does(name):
    arguments = dict(depths=(2, 1), num_heads=(2, 4), embed_dim=64, num_classes=100)
    state = timm.create_model(name, **arguments).state_dict()
    model = vit_tf.create_model(name, **arguments)
    for key, tensor in mapping.extract(model).items():
        expected = state[key].numpy()
        spread = expected.std()
        assert tensor.std() == pytest.approx(spread, rel=0.3, abs=1e-7), key
        limit = 10 * spread / np.sqrt(expected.size) + 1e-6
        assert abs(tensor.mean() - expected.mean()) < limit, key


@pytest.mark.parametrize(
    ("name", "arguments", "message"),
    [
        (V1, {"global_pool": "token"}, "global_pool='token'"),
        (V1, {"num_heads": (1, 3)}, "width of 16 .* into 3 heads"),
        (V1, {"num_heads": (1,)}, "a number of each for every stage"),
        (V1, {"depths": (), "num_heads": ()}, "a number of each for every stage"),
        (V1, {"depths": (2, 0)}, r"depths\[1\]=0: expected 1 or more"),
        (V1, {"in_chans": 0}, "in_chans=0: expected 1 or more"),
        (V1, {"img_size": 3}, "images of one patch or more"),
        (V1, {"window_size": 0}, "window_size=0: expected windows of 1 token"),
        (V1, {"window_size": (3, 3, 3)}, "for each of 2 stages"),
        (V2, {"pretrained_window_sizes": (3,)}, "one for each of 2 stages"),
    ],
)
def test_impossible_arguments_are_errors(name, arguments, message):
    with pytest.raises(ValueError, match=message):
        models.build(micro(name, **arguments))


def test_an_impossible_ratio_is_an_error():
    with pytest.raises(ValueError, match="window_ratio=0: expected 1 or more"):
        calc_stage_window_sizes((8, 8), ((7, 7),), (56, 56), window_ratio=0)


def test_the_logit_scale_is_clamped_as_in_timm():
    """Random ones stay below the limit, log(100); here half of them are above."""
    config = micro(V2)
    tensors = random_tensors(config)
    for name in tensors:
        if name.endswith("logit_scale"):
            tensors[name] = 4.6 + np.sign(tensors[name])
    images = proof.random_images(config)
    reference = proof.timm_outputs(config, tensors, images, "float64")
    model = proof.filled(config, tensors, "float64")
    proof.compare_with_timm(config, reference, model, images, "float64")
    proof.compare_gradients(config, tensors, model, images).check()


def test_windows_may_differ_in_shape_from_stage_to_stage():
    window_size = ((4, 2), 3)
    check_layers_and_gradients(micro(V1, window_size=window_size))
    sizes = ((4, 2), (3, 3))
    config = micro(V2, window_size=window_size, pretrained_window_sizes=sizes)
    check_layers_and_gradients(config)


@pytest.mark.parametrize(
    ("name", "window"), [(V1, 7), (V2, 16)], ids=["window7", "window16"]
)
def test_masks_and_indices_are_not_computed_again_at_each_call(name, window, tmp_path):
    """TensorFlow's executor folds what depends on constants only, up to 10 MB."""
    size = 4 * window * 2
    config = models.small_config(
        name, img_size=(size, size), window_size=window, num_classes=3
    )
    model = models.build(config)
    call = tf.function(model)
    images = tf.zeros((1, size, size, 3))
    call(images)
    tf.profiler.experimental.start(str(tmp_path))
    call(images)
    tf.profiler.experimental.stop()
    [profile] = tmp_path.rglob("*.xplane.pb")
    ran = profile.read_bytes()
    assert re.search(rb"norm1[_0-9]*/sub[_0-9]*:Sub", ran)  # so would an index be seen
    assert b":ConcatV2" in ran  # the windows are shifted
    for operation in (rb":NotEqual", rb":SelectV2", rb"attn[_0-9]*/sub[_0-9]*:Sub"):
        assert not re.search(operation, ran), operation
