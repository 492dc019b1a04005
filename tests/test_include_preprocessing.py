"""Preprocessing inside a Keras model, and before it."""

import keras
import numpy as np
import pytest
import tensorflow as tf
from micro import MICRO, micro_config

import vit_tf
from vit_tf import pipeline, reference

pytestmark = pytest.mark.usefixtures("shared_bench")
MODEL = "deit_tiny_patch16_224"
DATA = vit_tf.DataConfig((3, 32, 32), crop_pct=0.9)
IMAGES = [
    np.random.default_rng(0).integers(256, size=(*size, 3), dtype=np.uint8)
    for size in ((60, 90), (50, 40))
]
FILES = [tf.io.encode_png(image).numpy() for image in IMAGES]


@pytest.fixture(scope="module")
def expected():
    return reference.preprocess(DATA, FILES)


@pytest.fixture(scope="module")
def converted(tmp_path_factory):
    directory = tmp_path_factory.mktemp("preprocessing") / "out"
    config = micro_config()
    config.preprocessing.crop_pct = 0.9
    return pipeline.convert(config, directory, checkpoint="random:0").directory


def test_the_layer_gives_timms_pixels(expected):
    layer = vit_tf.Preprocessing(DATA)
    assert layer(tf.constant(FILES)).dtype == tf.float32
    np.testing.assert_array_equal(layer(tf.constant(FILES)), expected)
    np.testing.assert_array_equal(layer(tf.ragged.stack(IMAGES)), expected)
    np.testing.assert_array_equal(layer(IMAGES[0][None])[0], expected[0])
    assert layer.weights == []
    assert vit_tf.Preprocessing.from_config(layer.get_config()).data == DATA


@pytest.mark.parametrize(
    ("shape", "dtype", "images"),
    [((), "string", tf.constant(FILES)), ((None, None, 3), "uint8", IMAGES[1][None])],
)
@pytest.mark.parametrize("policy", ["float32", "mixed_bfloat16"])
def test_it_is_part_of_models_and_their_files(shape, dtype, images, policy, tmp_path):
    keras.config.set_dtype_policy(policy)
    try:
        layers = [keras.Input(shape, dtype=dtype), vit_tf.Preprocessing(DATA)]
        model = keras.Sequential([*layers, keras.layers.Flatten(dtype="float32")])
    finally:
        keras.config.set_dtype_policy("float32")
    assert model.output_shape == (None, 32 * 32 * 3)
    model.save(tmp_path / "model.keras")
    again = keras.models.load_model(tmp_path / "model.keras")
    expected = vit_tf.preprocess_input(images, DATA).numpy()
    for candidate in (model, again):
        np.testing.assert_array_equal(
            candidate.predict(images, verbose=0), expected.reshape(len(expected), -1)
        )


@pytest.mark.parametrize("images", [np.zeros((1, 9, 9, 3)), np.zeros((9, 9, 3), "u1")])
def test_other_images_are_refused_by_the_layer(images):
    with pytest.raises(ValueError, match=r"found, string of shape \(batch,\)"):
        vit_tf.Preprocessing(DATA)(images)


@pytest.mark.parametrize("dtype", ["float32", "int32"])
def test_other_pixels_are_refused_by_the_function(dtype):
    images = tf.data.Dataset.from_tensors(np.zeros((9, 9, 3), dtype))
    with pytest.raises(ValueError, match=rf"image: {dtype} found, string \(the bytes"):
        images.map(vit_tf.create_transform(DATA))


def test_a_bundle_becomes_a_model_that_takes_files(converted, expected, tmp_path):
    model = vit_tf.load(converted, include_preprocessing=True)
    logits = vit_tf.load(converted)(expected).numpy()
    tolerance = dict(rtol=0, atol=1e-5 * np.abs(logits).max())
    np.testing.assert_allclose(model(tf.constant(FILES)), logits, **tolerance)
    np.testing.assert_allclose(model(tf.ragged.stack(IMAGES)), logits, **tolerance)
    assert model.data_config == DATA
    model.save(tmp_path / "model.keras")
    for again in (
        keras.models.load_model(tmp_path / "model.keras"),
        vit_tf.load(tmp_path / "model.keras", include_preprocessing=True),
    ):
        np.testing.assert_allclose(again(tf.constant(FILES)), logits, **tolerance)
    vit_tf.load(converted).save(tmp_path / "plain.keras")
    with pytest.raises(vit_tf.export.bundle.BundleError, match="without preprocessing"):
        vit_tf.load(tmp_path / "plain.keras", include_preprocessing=True)


def test_a_new_model_takes_files_and_is_trained_on_them():
    model = vit_tf.create_model(MODEL, include_preprocessing=True, **MICRO)
    assert model.data_config.input_size == (3, 32, 32)
    assert model.data_config.crop_pct == reference.pretrained_cfg(MODEL)["crop_pct"]
    before = model.model.head.kernel.numpy()
    model.compile("sgd", keras.losses.SparseCategoricalCrossentropy(from_logits=True))
    dataset = tf.data.Dataset.from_tensor_slices((FILES, [1, 2])).batch(2)
    model.fit(dataset, verbose=0)
    assert np.abs(model.model.head.kernel.numpy() - before).max() > 0


def test_a_backbone_takes_files():
    options = dict(include_preprocessing=True, features_only=True, data=DATA)
    backbone = vit_tf.create_model(MODEL, out_indices=[0, 1], **options, **MICRO)
    assert [maps.shape for maps in backbone(tf.constant(FILES))] == [(2, 2, 2, 24)] * 2


def test_data_must_fit_the_model():
    with pytest.raises(ValueError, match="data needs include_preprocessing=True"):
        vit_tf.create_model(MODEL, data=DATA, **MICRO)
    data = vit_tf.DataConfig()
    with pytest.raises(ValueError, match=r"224\) found, \(3, 32, 32\) expected"):
        vit_tf.create_model(MODEL, data=data, include_preprocessing=True, **MICRO)


def test_preprocess_input_takes_what_keras_users_have(converted, expected):
    model = vit_tf.load(converted)
    floats = [image.astype(np.float32) for image in IMAGES]
    for images in (FILES, tf.constant(FILES), IMAGES, tf.ragged.stack(IMAGES), floats):
        np.testing.assert_array_equal(vit_tf.preprocess_input(images, model), expected)
    for known in (str(converted), converted, DATA):
        found = vit_tf.preprocess_input(floats[0][None], known)
        np.testing.assert_array_equal(found[0], expected[0])
    assert vit_tf.preprocess_input(FILES, MODEL).shape == (2, 224, 224, 3)


@pytest.mark.parametrize("images", [IMAGES[0][None] / 255, IMAGES[0][None] - 1.0])
def test_pixels_that_are_no_bytes_are_refused(images):
    with pytest.raises(ValueError, match="whole numbers from 0 to 255 expected"):
        vit_tf.preprocess_input(images, DATA)


def test_who_does_not_know_preprocessing_says_so(tmp_path):
    assert vit_tf.resolve_data_config("vit_tiny_patch16_224").mean == (0.5,) * 3
    with pytest.raises(ValueError, match="does not say how its images are prepared"):
        vit_tf.resolve_data_config(vit_tf.create_model(MODEL, **MICRO))
    with pytest.raises(ValueError, match="not a bundle"):
        vit_tf.resolve_data_config(tmp_path)
    with pytest.raises(ValueError, match="no pretrained tag 'deit_small_224'"):
        vit_tf.resolve_data_config("deit_small_224")
