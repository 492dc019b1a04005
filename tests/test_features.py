"""A model as a backbone: feature maps, and features without a classifier."""

import keras
import numpy as np
import pytest
from micro import random_tensors

import vit_tf
from vit_tf import mapping, models, proof
from vit_tf.models.features import feature_take_indices
from vit_tf.reference import timm

KINDS = [
    "deit_tiny_distilled_patch16_224",
    "vit_base_patch16_siglip_224",
    "cait_xxs24_224",
    "swin_tiny_patch4_window7_224",
    "swinv2_tiny_window8_256",
    "vit_small_r26_s32_224",
]
SWINS = ["swin_tiny_patch4_window7_224", "swinv2_tiny_window8_256"]


def backbone(name: str, out_indices=None):
    config = models.small_config(name)
    return vit_tf.create_model(
        name, features_only=True, out_indices=out_indices, **config.model.to_dict()
    )


@pytest.mark.parametrize("name", KINDS)
def test_a_backbone_gives_what_timms_features_only_gives(name):
    config = models.small_config(name)
    tensors, images = random_tensors(config), proof.random_images(config)
    images = images.astype("float64")
    model = vit_tf.create_model(
        name,
        features_only=True,
        out_indices=[0, -1],
        dtype="float64",
        **config.model.to_dict(),
    )
    mapping.assign(model.model, tensors)
    reference = proof.original(config, tensors, "float64")
    _, expected = reference.intermediates(images, [0, -1])
    found = model(images)
    assert len(found) == 2
    for ours, timms in zip(found, expected, strict=True):
        np.testing.assert_allclose(ours, timms, rtol=0, atol=1e-10)
    widths = [maps.shape[-1] for maps in found]
    assert [row["num_chs"] for row in model.feature_info] == widths


@pytest.mark.parametrize("name", SWINS)
def test_a_pyramid_has_timms_reductions(name):
    model = backbone(name)
    assert [row["reduction"] for row in model.feature_info] == [4, 8, 16, 32]
    assert [row["module"] for row in model.feature_info] == [
        f"layers.{i}" for i in range(4)
    ]


@pytest.mark.parametrize("name", ["swinv2_tiny_window8_256", "vit_base_patch8_224"])
def test_the_keras_format_keeps_a_backbone(tmp_path, name):
    model = backbone(name, out_indices=[0, 1])
    path = tmp_path / "backbone.keras"
    model.save(path)
    loaded = keras.models.load_model(path)
    assert loaded.get_config() == model.get_config()
    height, width = model.model.img_size
    images = np.random.default_rng(0).normal(size=(2, height, width, 3))
    for found, expected in zip(loaded(images), model(images), strict=True):
        np.testing.assert_array_equal(found, expected)


def test_a_backbone_is_a_layer_of_a_functional_model():
    model = backbone("swin_tiny_patch4_window7_224", out_indices=2)
    inputs = keras.Input((*model.model.img_size, 3))
    maps = model(inputs)
    assert [tuple(m.shape) for m in maps] == [(None, 3, 2, 32), (None, 2, 1, 64)]
    head = keras.layers.Conv2D(5, 1)(keras.layers.UpSampling2D(2)(maps[1]))
    assert keras.Model(inputs, head).output_shape == (None, 4, 2, 5)


@pytest.mark.parametrize("pool", ["", "avg", "max"])
@pytest.mark.parametrize("name", SWINS)
def test_features_without_a_classifier_are_timms(name, pool):
    """What users of keras.applications ask for with `include_top=False`."""
    config = models.small_config(name, num_classes=0, global_pool=pool)
    tensors, images = random_tensors(config), proof.random_images(config)
    expected = proof.original(config, tensors, "float64").logits(images)
    found = proof.filled(config, tensors, "float64")(images.astype("float64"))
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-10)


@pytest.mark.parametrize(
    ("name", "count"),
    [("vit_base_patch8_224", 3), ("cait_xxs24_224", 3), (SWINS[0], 4)],
)
def test_without_out_indices_features_are_those_of_timms_default(name, count):
    stages = {"depths": (1, 1, 1, 1, 1)} if name in SWINS else {"depth": 5}
    if name in SWINS:
        count, stages["num_heads"] = 5, (1, 1, 2, 2, 4)
        stages["window_size"] = 2
    config = models.small_config(name, **stages)
    model = vit_tf.create_model(name, features_only=True, **config.model.to_dict())
    assert len(model.feature_info) == count
    images = np.zeros((1, *model.model.img_size, 3), np.float32)
    assert len(model(images)) == count


def test_out_indices_without_features_only_is_an_error():
    with pytest.raises(ValueError, match="needs features_only=True"):
        vit_tf.create_model("vit_tiny_patch16_224", out_indices=2)


def test_indices_are_timms():
    for indices in (None, 1, 3, [0], [-1, 2], (1, 0)):
        expected, _ = timm.models._features.feature_take_indices(4, indices)
        assert feature_take_indices(4, indices) == expected


@pytest.mark.parametrize("indices", [0, 5, [4], [-5]])
def test_more_features_than_there_are_is_an_error(indices):
    with pytest.raises(ValueError, match="of 4 features"):
        feature_take_indices(4, indices)
    with pytest.raises(ValueError, match="of 4 features"):
        backbone("swin_tiny_patch4_window7_224", out_indices=indices)
