"""Bundles that take images as they are stored."""

import json

import forked
import numpy as np
import pytest
import tensorflow as tf
from micro import micro_config

import vit_tf
from vit_tf import pipeline, reference
from vit_tf.export import bundle, samples, serving
from vit_tf.parity import ParityError
from vit_tf.parity.pixels import compare_pixels
from vit_tf.preprocessing import DataConfig

SIZES = ((60, 90), (50, 40), (200, 33))
IMAGES = [
    np.random.default_rng(0).integers(256, size=(*size, 3), dtype=np.uint8)
    for size in SIZES
]
FILES = [tf.io.encode_png(image).numpy() for image in IMAGES]
PILLOW = reference.pillow_version()
as_traced = pytest.mark.usefixtures("graph_as_traced")  # what is said counts
TIMM = {"mean": (0.485, 0.456, 0.406), "std": (0.229, 0.224, 0.225)}


def converted(folder, **options):
    """A micro bundle; options of `config.preprocessing`, and of the model."""
    said = {k: options.pop(k) for k in list(options) if hasattr(DataConfig, k)}
    config = micro_config(**options)
    config.preprocessing.update(said)
    return pipeline.convert(config, folder / "out", checkpoint="random:0")


@pytest.fixture(scope="module")
def conversion(tmp_path_factory):
    return converted(tmp_path_factory.mktemp("serving"), crop_pct=0.8, pillow="13.0")


@pytest.fixture(scope="module")
def loaded(conversion):
    return tf.saved_model.load(str(conversion.directory))


def test_files_give_what_the_model_gives_for_timms_pixels(conversion, loaded):
    data = vit_tf.resolve_data_config(conversion.directory)
    assert data == DataConfig((3, 32, 32), "bicubic", crop_pct=0.8, **TIMM)
    pixels = reference.preprocess(data, FILES)
    np.testing.assert_array_equal(loaded.preprocess(tf.constant(FILES)), pixels)
    logits = vit_tf.load(conversion.directory)(pixels).numpy()
    found = loaded.signatures["serving_bytes"](images=tf.constant(FILES))
    np.testing.assert_allclose(
        found["logits"], logits, atol=1e-5 * np.abs(logits).max()
    )
    order = np.argsort(-logits)[:, :5]
    np.testing.assert_array_equal(found["classes"], order)
    np.testing.assert_array_equal(found["labels"], order.astype("S"))
    probabilities = tf.nn.softmax(logits).numpy()
    np.testing.assert_allclose(found["probabilities"], probabilities, atol=1e-5)
    expected = np.take_along_axis(probabilities, order, 1)
    np.testing.assert_allclose(found["scores"], expected, atol=1e-5)


def test_every_form_of_pixels_gives_the_same(loaded):
    pixels = loaded.preprocess(tf.constant(FILES))
    np.testing.assert_array_equal(loaded.preprocess(tf.ragged.stack(IMAGES)), pixels)
    for image, expected in zip(IMAGES, pixels, strict=True):
        np.testing.assert_array_equal(loaded.preprocess(image[None])[0], expected)
    expected = loaded.predict(pixels)
    same = tf.constant(np.stack([IMAGES[0]] * 3))
    one_size = loaded.signatures["serving_uint8"](images=same)
    ragged = loaded.signatures["serving_uint8_ragged"](
        pixels=tf.constant(np.concatenate([image.ravel() for image in IMAGES])),
        sizes=tf.constant(SIZES),
    )
    for name, output in expected.items():
        np.testing.assert_array_equal(ragged[name], output, name)
        assert one_size[name].shape == output.shape
    for row in one_size["logits"].numpy():
        np.testing.assert_allclose(row, expected["logits"][0], atol=1e-5)


def test_no_images_give_no_outputs(loaded):
    none = loaded.signatures["serving_bytes"](images=tf.constant([], tf.string))
    assert none["logits"].shape == (0, 7)


def test_sizes_that_are_not_those_of_the_pixels_are_refused(loaded):
    with pytest.raises(
        tf.errors.InvalidArgumentError, match=r"\[values in pixels found:\] \[5400\]"
    ):
        loaded.signatures["serving_uint8_ragged"](
            pixels=tf.zeros(60 * 90, tf.uint8), sizes=tf.constant([[60, 90]])
        )


def test_what_is_no_image_is_refused(loaded):
    with pytest.raises(tf.errors.InvalidArgumentError):
        loaded.signatures["serving_bytes"](images=tf.constant([b"text"]))


def test_pixels_are_reported_beside_the_layers(conversion):
    proven = json.loads((conversion.directory / bundle.PARITY).read_text())
    assert proven["pixels"]["passed"] is True
    assert proven["pixels"]["differing"] == {"wide.jpeg": 0, "tall.png": 0}
    assert proven["pixels"]["values"] == 2 * 32 * 32 * 3
    said = f"0 of 6,144 values of 2 images differ from timm's (Pillow {PILLOW})"
    assert f"pixels    {said}" in str(conversion)
    assert said in (conversion.directory / "README.md").read_text()
    report = conversion.reports[-1]
    assert report.title == "SavedModel read back"
    names = {layer.name for layer in report.layers}
    assert {f"{s}.logits" for s in samples.ROWS} <= names
    assert {f"{s}.labels" for s in samples.ROWS} <= names


def test_tensorflow_alone_serves_files(conversion):
    """A fresh process; what it gives is what this one does."""
    code = """
import sys, tensorflow as tf
loaded = tf.saved_model.load(sys.argv[1])
image = tf.reshape(tf.cast(tf.range(7500) % 251, tf.uint8), (50, 50, 3))
file = tf.io.encode_png(image)
print(loaded.signatures["serving_bytes"](images=file[None])["labels"].numpy().tolist())
assert "vit_tf" not in sys.modules and "torch" not in sys.modules
"""
    folder = conversion.directory
    done = forked.run("-c", code, folder, imported=forked.TENSORFLOW, check=True)
    loaded = tf.saved_model.load(str(conversion.directory))
    image = (np.arange(7500) % 251).astype(np.uint8).reshape(1, 50, 50, 3)
    labels = loaded.signatures["serving_uint8"](images=tf.constant(image))["labels"]
    assert done.stdout.strip() == str(labels.numpy().tolist())


@as_traced
@pytest.mark.parametrize("dtype", ["float64", "mixed_bfloat16"])
def test_whatever_a_bundle_computes_in_it_sees_float32(dtype, tmp_path):
    config = micro_config(num_classes=3)
    config.dtype = dtype
    conversion = pipeline.convert(config, tmp_path / "out", checkpoint="random:0")
    loaded = tf.saved_model.load(str(tmp_path / "out"))
    assert conversion.pixels.passed
    assert loaded.preprocess(tf.constant(FILES)).dtype == tf.float32
    found = loaded.signatures["serving_bytes"](images=tf.constant(FILES))
    assert found["logits"].dtype == (tf.float64 if dtype == "float64" else tf.float32)
    assert found["classes"].shape == (3, 3)  # as many as there are


@as_traced
@as_traced
@pytest.mark.parametrize(
    "options", [dict(num_classes=0), dict(dynamic_img_size=True, img_size=(32, 48))]
)
def test_features_and_any_size(options, tmp_path):
    conversion = converted(tmp_path, **options)
    assert conversion.pixels.passed
    loaded = tf.saved_model.load(str(conversion.directory))
    found = loaded.signatures["serving_bytes"](images=tf.constant(FILES))
    height, width = loaded.preprocess(tf.constant(FILES)).shape[1:3]
    if "num_classes" in options:
        assert {name: x.shape for name, x in found.items()} == {"features": (3, 24)}
        text = (conversion.directory / "README.md").read_text()
        code = text.partition("```python\n")[2].partition("```")[0]
        assert 'outputs["features"]' in code
    else:
        assert (height, width) == (32, 48)


@as_traced
def test_where_preprocessing_is_not_known_it_can_be_said(tmp_path):
    """A mean of three channels is nothing for a model of one."""
    conversion = converted(tmp_path / "a", in_chans=1)
    loaded = tf.saved_model.load(str(conversion.directory))
    assert not {"serving_bytes", "serving_uint8"} & set(loaded.signatures)
    assert conversion.pixels is None
    for text in (str(conversion), (conversion.directory / "README.md").read_text()):
        assert "mean is not known; std is not known" in text
        assert "--config.preprocessing.NAME=VALUE" in text
    with pytest.raises(bundle.BundleError, match=r"mean is not known.*preprocessing"):
        vit_tf.load(conversion.directory, include_preprocessing=True)
    assert vit_tf.load(conversion.directory).data_config is None
    conversion = converted(tmp_path / "b", in_chans=1, mean=(0.5,), std=(0.25,))
    assert conversion.pixels.passed
    assert vit_tf.load(conversion.directory).data_config.mean == (0.5,)


@as_traced
def test_one_mean_is_that_of_every_channel_as_in_timm(tmp_path):
    conversion = converted(tmp_path, mean=(0.5,), interpolation="lanczos")
    data = vit_tf.resolve_data_config(conversion.directory)
    assert (data.mean, data.std) == ((0.5,) * 3, TIMM["std"])
    assert data.interpolation == "lanczos"


@as_traced
def test_what_the_source_says_and_cannot_be_is_said(tmp_path, monkeypatch):
    facts = {**reference.pretrained_cfg("deit_tiny_patch16_224"), "crop_mode": "top"}
    monkeypatch.setattr("vit_tf.source.pretrained_cfg", lambda name: facts)
    conversion = converted(tmp_path)
    assert conversion.pixels is None
    assert "crop_mode='top' found" in str(conversion)


@as_traced
def test_pixels_of_another_order_of_passes_are_not_left(tmp_path):
    with pytest.raises(ParityError) as error:
        converted(tmp_path, pillow="9.5")
    for part in ("tall.png", f"Pillow {PILLOW} is installed", "of Pillow 9.5"):
        assert part in str(error.value)
    assert "wide.jpeg" not in str(error.value)
    assert list(tmp_path.iterdir()) == []


def test_labels_of_other_classes_are_not_left(tmp_path, monkeypatch):
    named = serving._named

    def turned(*arguments):
        outputs = named(*arguments)
        return {**outputs, "labels": tf.reverse(outputs["labels"], [-1])}

    monkeypatch.setattr(serving, "_named", turned)
    with pytest.raises(ParityError, match=r"first is serving_bytes\.labels"):
        converted(tmp_path)


def test_pixels_are_compared_as_bits():
    zero = np.zeros((2, 2, 1), np.float32)
    report = compare_pixels({"a": zero, "b": zero}, {"a": zero, "b": -zero}, "13.0")
    assert report.differing == {"a": 0, "b": 4}
    with pytest.raises(ParityError, match=r"4 of 8 values of 2 images differ"):
        report.check()
    report = compare_pixels({"a": zero}, {"a": zero[:1]}, "13.0", "13.0.0")
    with pytest.raises(ParityError, match=r"by up to inf: a \(4\); Pillow 13\.0\.0"):
        report.check()
