"""What is CaiT's own: two attentions, two kinds of blocks, images of any size."""

import functools

import keras
import numpy as np
import pytest
import tensorflow as tf
from micro import micro_config, random_tensors
from vit_tf.configs import cait

import vit_tf
from vit_tf import activations, mapping, models, pipeline, proof
from vit_tf.gradients import gradients
from vit_tf.layers.pos_embed import resample_abs_pos_embed
from vit_tf.reference import timm, torch

micro = functools.partial(
    micro_config, "cait_xxs24_224", img_size=(32, 48), init_values=1e-5
)
SIZE = (64, 32)  # another than the micro model's


def channels_first(images: np.ndarray) -> torch.Tensor:
    return torch.from_numpy(images.transpose(0, 3, 1, 2).copy())


def pair(dtype: str = "float64", **arguments):
    """Ours and timm's of the same random weights, and images."""
    config = micro(**arguments)
    tensors = random_tensors(config)
    original = proof.original(config, tensors, dtype).module
    images = proof.random_images(config).astype(dtype)
    return proof.filled(config, tensors, dtype), original, images


def test_there_are_all_of_timms():
    assert set(cait.VARIANTS) == set(timm.list_models(module="cait"))
    assert len(cait.VARIANTS) == 10


@pytest.mark.parametrize(
    "arguments",
    [
        dict(),
        dict(global_pool=""),
        dict(global_pool="avg"),
        dict(num_classes=0),
        dict(num_classes=0, global_pool=""),
        dict(qkv_bias=False, mlp_ratio=3.0, mlp_ratio_token_only=2.0),
        dict(depth_token_only=0),
        dict(depth_token_only=3, in_chans=1),
        dict(img_size=(33, 50), patch_size=8),
        dict(dynamic_img_size=True),
    ],
)
def test_layers_and_gradients_are_timms(arguments):
    config = micro(**arguments)
    tensors, images = random_tensors(config), proof.random_images(config)
    reference = proof.timm_outputs(config, tensors, images, "float64")
    model = proof.filled(config, tensors, "float64")
    [report] = proof.compare_with_timm(config, reference, model, images, "float64")
    assert report.worst.relative < 1e-13
    gradients = proof.compare_gradients(config, tensors, model, images)
    gradients.check()
    assert len(gradients.layers) == len(tensors)


def test_attention_is_reached_by_name_with_timms_axes():
    """In a graph, of which the batch is not known; 6 patches, 3 heads."""
    config = micro()
    tensors, images = random_tensors(config), proof.random_images(config)
    reference = proof.timm_outputs(config, tensors, images, "float64")
    model = proof.filled(config, tensors, "float64")
    shapes = {
        "blocks.0.attn.proj_l": (2, 6, 6, 3),
        "blocks.1.attn.proj_w": (2, 6, 6, 3),
        "blocks.1.attn.attn_drop": (2, 3, 6, 6),
        "blocks.1.attn.proj": (2, 6, 24),
        "blocks_token_only.0.attn.q": (2, 24),
        "blocks_token_only.0.attn.k": (2, 7, 24),
        "blocks_token_only.1.attn.attn_drop": (2, 3, 1, 7),
        "blocks_token_only.1.attn.proj": (2, 1, 24),
        "blocks_token_only.1.mlp.fc1": (2, 1, 96),
    }
    spec = tf.TensorSpec((None, 32, 48, 3), tf.float64)
    named = tf.function(
        activations.outputs(model, shapes), input_signature=[spec], autograph=False
    )
    for name, output in named(images.astype("float64")).items():
        assert output.shape == shapes[name] == reference[name].shape, name
        np.testing.assert_allclose(output, reference[name], rtol=0, atol=1e-12)


def test_mixed_probabilities_are_those_of_several_heads():
    """Before `proj_w` each row sums to one; after it, to what its weights say."""
    model, _, images = pair()
    name = "blocks.0.attn"
    found = activations.outputs(model, [f"{name}.attn_drop"])(images)
    sums = tf.reduce_sum(found[f"{name}.attn_drop"], axis=-1).numpy()  # (B, H, N)
    attn = model.blocks[0].attn
    tokens = 6
    expected = attn.proj_w.weight.numpy().sum(1) + tokens * attn.proj_w.bias.numpy()
    expected = np.broadcast_to(expected[:, None], sums.shape)
    np.testing.assert_allclose(sums, expected, rtol=0, atol=1e-12)


def test_intermediates_alone_are_those_beside_the_final_tokens():
    model, _, images = pair(depth=3)
    _, beside = model.forward_intermediates(images, [0, -1], norm=True)
    alone = model.forward_intermediates(
        images, [0, -1], norm=True, intermediates_only=True
    )
    for found, expected in zip(alone, beside, strict=True):
        assert found.shape == (2, 2, 3, 24)
        np.testing.assert_array_equal(found, expected)


def test_drop_path_is_constant_and_spares_the_class_token():
    rates = dict(
        drop_rate=0.1, pos_drop_rate=0.2, proj_drop_rate=0.3, attn_drop_rate=0.4,
        drop_path_rate=0.25,
    )  # fmt: skip
    config = micro(depth=3, **rates)
    with torch.device("meta"):
        original = timm.create_model(
            config.architecture, **proof.shared_arguments(config)
        )
    expected = {
        name: getattr(module, "p", None) or getattr(module, "drop_prob", 0.0)
        for name, module in original.named_modules()
        if isinstance(module, (torch.nn.Dropout, timm.layers.DropPath))
    }
    layers = mapping.named_layers(models.build(config))
    found = {n: x.rate for x, n in layers if isinstance(x, keras.layers.Dropout)}
    assert found == expected
    assert found["blocks.0.drop_path"] == found["blocks.2.drop_path"] == 0.25
    assert "blocks_token_only.0.drop_path" not in found


def test_training_without_drops_is_timms():
    model, original, images = pair()
    original.train()
    expected = original(channels_first(images)).detach()
    found = model(images, training=True)
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-12)


def test_training_drops_and_inference_does_not():
    model, original, images = pair(
        drop_path_rate=0.5, attn_drop_rate=0.3, proj_drop_rate=0.2
    )
    with torch.inference_mode():
        expected = original(channels_first(images))
    np.testing.assert_allclose(model(images), expected, rtol=0, atol=1e-12)
    first, second = (model(images, training=True).numpy() for _ in range(2))
    assert np.abs(first - second).max() > 1e-3


def test_scales_start_from_init_values():
    model = models.build(micro(init_values=1e-6))
    for block in (*model.blocks, *model.blocks_token_only):
        for gamma in (block.gamma_1, block.gamma_2):
            np.testing.assert_array_equal(gamma, np.full(24, 1e-6, np.float32))


def of_another_size(original, pos_embed: torch.Tensor, dtype: str):
    """timm's model for images of `SIZE`, with the same weights but for positions."""
    config = micro(img_size=SIZE)
    tensors = {k: v.numpy() for k, v in original.state_dict().items()}
    tensors |= {"pos_embed": pos_embed.numpy()}
    return proof.original(config, tensors, dtype).module


def interpolated(pos_embed: torch.Tensor) -> torch.Tensor:
    """Positions for `SIZE`, 4 x 2 patches, from those of 2 x 3, in their dtype."""
    grid = pos_embed.reshape(1, 2, 3, 24).permute(0, 3, 1, 2)
    grid = torch.nn.functional.interpolate(
        grid, size=(4, 2), mode="bicubic", antialias=True
    )
    return grid.permute(0, 2, 3, 1).reshape(1, 8, 24)


def test_images_of_another_size_are_seen_as_by_timms_model_of_that_size():
    model, original, _ = pair(dynamic_img_size=True)
    positions = interpolated(original.pos_embed.detach())
    resized = of_another_size(original, positions, "float64")
    images = np.random.default_rng(3).standard_normal((2, *SIZE, 3))
    with torch.inference_mode():
        expected = resized(channels_first(images))
        final, features = resized.forward_intermediates(channels_first(images))
    np.testing.assert_allclose(model(images), expected, rtol=0, atol=1e-12)
    ours, found = model.forward_intermediates(images)
    np.testing.assert_allclose(ours, final, rtol=0, atol=1e-12)
    for single, feature in zip(found, features, strict=True):
        feature = feature.permute(0, 2, 3, 1)
        np.testing.assert_allclose(single, feature, rtol=0, atol=1e-12)


def test_one_graph_takes_all_sizes():
    model, original, own = pair(dynamic_img_size=True)
    spec = tf.TensorSpec((None, None, None, 3), tf.float64)
    traced = tf.function(model, input_signature=[spec], autograph=False)
    other = np.random.default_rng(4).standard_normal((3, *SIZE, 3))
    for images in (own, other, own[:1]):
        np.testing.assert_allclose(traced(images), model(images), rtol=0, atol=1e-12)
    with torch.inference_mode():
        expected = original(channels_first(own))
    np.testing.assert_allclose(traced(own), expected, rtol=0, atol=1e-12)


def test_positions_are_resampled_as_timm_resamples_them():
    """By timm's own function, which works in float32."""
    model, original, _ = pair("float32", dynamic_img_size=True)
    positions = timm.layers.resample_abs_pos_embed(
        original.pos_embed.detach(), (4, 2), (2, 3), num_prefix_tokens=0
    )
    found = resample_abs_pos_embed(model.pos_embed, (4, 2), (2, 3), 0)
    np.testing.assert_allclose(found, positions, rtol=0, atol=1e-6)
    resized = of_another_size(original, positions, "float32")
    images = np.random.default_rng(5).standard_normal((2, *SIZE, 3), np.float32)
    with torch.inference_mode():
        expected = resized(channels_first(images)).numpy()
    atol = 1e-5 * np.abs(expected).max()
    np.testing.assert_allclose(model(images), expected, rtol=0, atol=atol)


def test_the_gradient_of_resampled_positions_is_torchs():
    model, original, _ = pair(dynamic_img_size=True)
    leaf = original.pos_embed.detach().clone().requires_grad_()
    resized = of_another_size(original, interpolated(leaf.detach()), "float64")
    images = np.random.default_rng(6).standard_normal((2, *SIZE, 3))
    replaced = {"pos_embed": interpolated(leaf)}
    logits = torch.func.functional_call(resized, replaced, channels_first(images))
    torch.sum(logits**2).backward()
    with tf.GradientTape() as tape:
        total = tf.reduce_sum(model(images) ** 2)
    found = tape.gradient(total, model.pos_embed.value).numpy()
    atol = 1e-12 * leaf.grad.abs().max().item()
    np.testing.assert_allclose(found, leaf.grad, rtol=0, atol=atol)


def test_images_that_do_not_fit_are_errors():
    images = np.zeros((1, *SIZE, 3), np.float32)
    with pytest.raises(ValueError, match="64 x 32 pixels given to a model of 32 x 48"):
        models.build(micro())(images)
    with pytest.raises(ValueError, match="width, 30 pixels, is no multiple"):
        models.build(micro(dynamic_img_size=True))(images[:, :, :30])


@pytest.mark.usefixtures("without_files_here")
@pytest.mark.usefixtures("graph_as_traced")
def test_a_bundle_takes_images_of_any_size(tmp_path):
    config = micro(depth=1, depth_token_only=1, dynamic_img_size=True)
    pipeline.convert(config, tmp_path / "cait", checkpoint="random:0")
    bundle = tf.saved_model.load(str(tmp_path / "cait"))
    model = proof.filled(config, random_tensors(config), "float32")
    for size in ((32, 48), SIZE):
        images = np.random.default_rng(7).standard_normal((2, *size, 3), np.float32)
        expected = model(images).numpy()
        atol = 1e-5 * np.abs(expected).max()
        np.testing.assert_allclose(bundle(images), expected, rtol=0, atol=atol)
        maps = bundle.signatures["attention"](images=tf.constant(images))
        tokens = size[0] * size[1] // 16**2
        assert {name: tuple(attention.shape) for name, attention in maps.items()} == {
            "blocks.0.attn.attn_drop": (2, 3, tokens, tokens),
            "blocks_token_only.0.attn.attn_drop": (2, 3, 1, 1 + tokens),
        }


def test_a_keras_file_holds_the_model(tmp_path):
    model, _, images = pair("float32", dynamic_img_size=True)
    model.save(tmp_path / "cait.keras")
    loaded = keras.saving.load_model(tmp_path / "cait.keras")
    assert loaded.get_config() == model.get_config()
    np.testing.assert_array_equal(loaded(images), model(images))


@pytest.mark.parametrize("policy", ["mixed_bfloat16", "mixed_float16"])
def test_half_precision_computes_in_half_precision(policy):
    config = micro(dynamic_img_size=True)
    tensors, images = random_tensors(config), proof.random_images(config)
    expected = proof.filled(config, tensors, "float32")(images).numpy()
    model = proof.filled(config, tensors, policy)
    assert model.blocks[0].attn.qkv.compute_dtype == policy.removeprefix("mixed_")
    found = model(images)
    assert found.dtype == tf.float32
    atol = 0.05 * np.abs(expected).max()
    np.testing.assert_allclose(found, expected, rtol=0, atol=atol)


@pytest.mark.parametrize("dynamic", [False, True])
def test_xla_compiles_it(dynamic):
    model, _, images = pair(dynamic_img_size=dynamic, depth=1, depth_token_only=1)
    compiled = tf.function(model, jit_compile=True, autograph=False)
    np.testing.assert_allclose(compiled(images), model(images), rtol=0, atol=1e-12)


def test_repeated_blocks_are_those_of_the_patches():
    model = models.build(micro())
    assert model.repeated_blocks == [model.blocks]


@pytest.mark.parametrize(
    "name", ["blocks.1.attn.proj_l.bias", "blocks_token_only.0.attn.k.bias"]
)
def test_a_gradient_where_there_should_be_none_is_found(name, monkeypatch):
    """What is added to all logits before a softmax has no influence."""
    config = micro()
    tensors, images = random_tensors(config), proof.random_images(config)
    model = proof.filled(config, tensors, "float64")
    labels = np.random.default_rng(config.parity.seed).integers(0, 7, len(images))
    found = gradients(model, images, labels)
    largest = max(np.abs(gradient).max() for gradient in found.values())
    assert np.abs(found[name]).max() < 1e-15 * largest
    found[name] = found[name] + 1e-12 * largest
    monkeypatch.setattr(proof, "gradients", lambda *args: found)
    report = proof.compare_gradients(config, tensors, model, images)
    assert [diff.name for diff in report.failures] == [name]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"global_pool": "max"}, "global_pool='max': expected one of"),
        ({"num_heads": 5}, "width of 24 does not divide into 5 heads"),
        ({"depth": 0}, "depth=0: expected 1 or more"),
        ({"img_size": 8}, "images of one patch or more"),
        ({"class_token": False}, r"Cait has no argument \['class_token'\]"),
    ],
)
def test_impossible_arguments_are_errors(arguments, message):
    with pytest.raises(ValueError, match=message):
        models.build(micro(**arguments))


def test_timm_is_not_asked_for_what_is_ours():
    config = vit_tf.get_config("cait_xs24_384", dynamic_img_size=True)
    assert config.model_class == "Cait"
    assert "dynamic_img_size" not in proof.shared_arguments(config)
    assert config.model.img_size == 384
