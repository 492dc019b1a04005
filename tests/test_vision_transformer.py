"""ViT and DeiT beyond what every architecture is tested for."""

import keras
import numpy as np
import pytest
import tensorflow as tf
from micro import micro_config, random_tensors

from vit_tf import mapping, models, proof
from vit_tf.layers.patch_dropout import PatchDropout
from vit_tf.reference import timm, timm_arguments, torch


@pytest.mark.parametrize("pool", ["", "avg", "avgmax", "max", "map", "prr"])
@pytest.mark.parametrize("fc_norm", [None, True, False])
def test_pools_are_timms(pool, fc_norm):
    config = micro_config("vit_tiny_patch16_224", global_pool=pool, fc_norm=fc_norm)
    check_layers(config)


@pytest.mark.parametrize(
    "name",
    [
        "vit_tiny_patch16_224",
        "deit_tiny_patch16_224",
        "deit_base_distilled_patch16_224",
    ],
)
def test_without_classes_features_are_timms(name):
    config = micro_config(name, num_classes=0)
    logits = check_layers(config)
    assert logits.shape == (2, config.model.embed_dim)


def test_gradients_of_unpooled_logits_are_timms():
    config = micro_config("vit_tiny_patch16_224", global_pool="")
    tensors, images = random_tensors(config), proof.random_images(config)
    model = proof.filled(config, tensors, "float64")
    proof.compare_gradients(config, tensors, model, images).check()


@pytest.mark.parametrize("channels", [1, 4])
def test_channels_are_timms(channels):
    check_layers(micro_config(in_chans=channels))


def test_patches_need_not_be_square_nor_divide_the_image():
    check_layers(micro_config(img_size=(33, 50), patch_size=(8, 16)))


def check_layers(config) -> np.ndarray:
    tensors, images = random_tensors(config), proof.random_images(config)
    reference = proof.timm_outputs(config, tensors, images, "float64")
    model = proof.filled(config, tensors, "float64")
    [report] = proof.compare_with_timm(config, reference, model, images, "float64")
    assert report.passed
    return reference["logits"]


def test_distilled_training_gives_the_pair_that_timm_gives():
    config = micro_config("deit_tiny_distilled_patch16_224")
    tensors, images = random_tensors(config), proof.random_images(config)
    reference = proof.original(config, tensors, "float64").module.train()
    reference.set_distilled_training(True)
    model = proof.filled(config, tensors, "float64")
    model.set_distilled_training(True)
    channels_first = torch.from_numpy(images.transpose(0, 3, 1, 2).copy()).double()
    pair = [logits.detach().numpy() for logits in reference(channels_first)]
    found = model(images.astype("float64"), training=True)
    assert isinstance(found, tuple)
    for ours, expected in zip(found, pair, strict=True):
        np.testing.assert_allclose(ours, expected, rtol=0, atol=1e-10)
    mean = model(images.astype("float64"), training=False)
    np.testing.assert_allclose(mean, np.mean(pair, axis=0), rtol=0, atol=1e-10)


def test_drop_path_rates_are_timms():
    config = micro_config(depth=5, drop_path_rate=0.3)
    with torch.device("meta"):
        original = timm.create_model(
            config.architecture, **timm_arguments(config.model)
        )
    model = models.build(config)
    for ours, theirs in zip(model.blocks, original.blocks, strict=True):
        for name in ("drop_path1", "drop_path2"):
            expected = getattr(getattr(theirs, name), "drop_prob", 0.0)
            found = getattr(getattr(ours, name), "rate", 0.0)
            assert found == pytest.approx(expected, abs=1e-7)


def test_drop_path_leaves_out_whole_images_and_keeps_the_mean():
    from vit_tf.layers.drop_path import DropPath

    layer = DropPath(0.25, seed=0)
    x = np.ones((4000, 2, 3), np.float32)
    found = layer(x, training=True).numpy()
    np.testing.assert_array_equal(found, np.broadcast_to(found[:, :1, :1], x.shape))
    assert set(np.unique(found)) == {0.0, np.float32(1 / 0.75)}
    assert found.mean() == pytest.approx(1, abs=0.03)
    np.testing.assert_array_equal(layer(x, training=False), x)


def test_patch_dropout_keeps_the_prefix_and_a_part_of_the_patches():
    from vit_tf.layers.patch_dropout import PatchDropout

    layer = PatchDropout(0.3, num_prefix_tokens=2)
    x = np.broadcast_to(np.arange(12, dtype=np.float32)[:, None], (5, 12, 3))
    kept = layer(x, training=True).numpy()
    assert kept.shape == (5, 2 + 7, 3)
    np.testing.assert_array_equal(kept[:, :2], x[:, :2])
    for image in kept[:, 2:, 0]:
        assert len(set(image)) == 7
        assert set(image) <= set(range(2, 12))
    np.testing.assert_array_equal(layer(x, training=False), x)


def test_dropout_rates_reach_the_layers_that_timm_gives_them_to():
    rates = dict(
        drop_rate=0.1, pos_drop_rate=0.2, patch_drop_rate=0.5, proj_drop_rate=0.3,
        attn_drop_rate=0.4,
    )  # fmt: skip
    config = micro_config(**rates)
    with torch.device("meta"):
        original = timm.create_model(
            config.architecture, **timm_arguments(config.model)
        )
    expected = {
        name: module.p
        for name, module in original.named_modules()
        if isinstance(module, torch.nn.Dropout)
    }
    layers = mapping.named_layers(models.build(config))
    found = {n: x.rate for x, n in layers if isinstance(x, keras.layers.Dropout)}
    assert found == expected
    assert original.patch_drop.prob == rates["patch_drop_rate"]


def test_a_wrong_image_size_is_an_error_that_shows_both():
    model = models.build(micro_config())
    with pytest.raises(ValueError, match="48 x 32 pixels given to a model of 32 x 32"):
        model(np.zeros((1, 48, 32, 3), np.float32))


def test_patches_are_left_out_of_images_of_any_size():
    layer = PatchDropout(0.3, num_prefix_tokens=2)
    unknown = tf.TensorSpec((None, None, 3), tf.float32)
    drop = tf.function(lambda x: layer(x, training=True), input_signature=[unknown])
    for tokens in (12, 7, 3):
        x = np.zeros((2, tokens, 3), np.float32)
        assert drop(x).shape == layer(x, training=True).shape
    config = micro_config(dynamic_img_size=True, patch_drop_rate=0.5)
    model = models.build(config)
    images = tf.TensorSpec((None, None, None, 3), tf.float32)
    train = tf.function(lambda x: model(x, training=True), input_signature=[images])
    assert train(np.zeros((2, 64, 32, 3), np.float32)).shape == (2, 7)


def test_a_backbone_that_leaves_patches_out_is_an_error():
    model = models.build(micro_config(patch_drop_rate=0.5))
    images = np.zeros((2, 32, 32, 3), np.float32)
    assert len(model.forward_intermediates(images, intermediates_only=True)) == 2
    with pytest.raises(ValueError, match=r"patch_drop_rate=0\.5"):
        model.forward_intermediates(images, training=True)


def test_a_size_that_only_the_run_knows_is_checked_then():
    model = models.build(micro_config())
    images = tf.TensorSpec((None, None, None, 3), tf.float32)
    served = tf.function(model, input_signature=[images])
    assert served(np.zeros((2, 32, 32, 3), np.float32)).shape == (2, 7)
    with pytest.raises(tf.errors.InvalidArgumentError, match="32,32"):
        served(np.zeros((2, 48, 32, 3), np.float32))


@pytest.mark.parametrize(
    ("name", "arguments", "message"),
    [
        ("deit_tiny_distilled_patch16_224", {"pos_embed": "none"}, "pos_embed='none'"),
        (
            "deit_tiny_distilled_patch16_224",
            {"no_embed_class": True},
            "no_embed_class=True",
        ),
        (
            "vit_tiny_patch16_224",
            {"img_size": (30, 32), "dynamic_img_pad": True},
            "4 patches once padded, and positions for 2",
        ),
        ("vit_tiny_patch16_224", {"pos_embed": "sincos"}, "pos_embed='sincos'"),
        ("vit_tiny_patch16_224", {"act_layer": "swish"}, "act_layer='swish'"),
        ("vit_tiny_patch16_224", {"norm_layer": "BatchNorm"}, "'BatchNorm': expected"),
        (
            "vit_tiny_patch16_224",
            {"norm_layer": "LayerNorm(epsilon=1e-5)"},
            r"no argument \['epsilon'\]; it has",
        ),
        ("vit_tiny_patch16_224", {"norm_layer": "LayerNorm(1e-5)"}, "expected .Name"),
        ("vit_tiny_patch16_224", {"block_fn": "Blok"}, "'Blok': expected one of Block"),
        ("vit_tiny_patch16_224", {"attn_layer": "rope"}, "attn_layer='rope'"),
        (
            "vit_tiny_patch16_224",
            {"attn_layer": "diff", "embed_dim": 27},
            "27 does not divide into 6 heads",
        ),
        (
            "vit_tiny_patch16_224",
            {"mlp_layer": "GluMlp", "embed_dim": 9, "mlp_ratio": 1.0},
            "hidden_features=9: expected an even number",
        ),
        ("vit_tiny_patch16_224", {"global_pool": "mean"}, "global_pool='mean'"),
        ("vit_tiny_patch16_224", {"class_token": False}, "needs class_token=True"),
        ("vit_tiny_patch16_224", {"num_heads": 5}, "width of 24 .* into 5 heads"),
        ("vit_tiny_patch16_224", {"num_heads": 0}, "width of 24 .* into 0 heads"),
        ("vit_tiny_patch16_224", {"in_chans": 0}, "in_chans=0: expected 1 or more"),
        ("vit_tiny_patch16_224", {"img_size": 8}, "images of one patch or more"),
        ("vit_tiny_patch16_224", {"patch_drop_rate": 1.0}, "less than 1"),
        ("vit_tiny_patch16_224", {"depth": 0}, "depth=0: expected 1 or more"),
        ("deit_tiny_distilled_patch16_224", {"global_pool": "avg"}, "distilled head"),
        ("vit_tiny_patch16_224", {"widht": 3}, r"no argument \['widht'\]; it has"),
    ],
)
def test_impossible_arguments_are_errors(name, arguments, message):
    with pytest.raises(ValueError, match=message):
        models.build(micro_config(name, **arguments))
