"""What a bundle computes in, and what becomes of numbers of other kinds."""

import json

import ml_dtypes
import numpy as np
import pytest
import some
import tensorflow as tf
from cli import MICRO, refused
from micro import micro_config, random_tensors
from safetensors.numpy import save_file

import vit_tf
from vit_tf import mapping, pipeline, proof

pytestmark = pytest.mark.usefixtures("shared_bench", "without_files")
IMAGES = np.random.default_rng(0).standard_normal((2, 32, 32, 3), np.float32)


def converted(dtype, folder, tensors=None, **options):
    config = micro_config()
    config.dtype = dtype
    checkpoint = "random:0"
    if tensors is not None:
        checkpoint = folder / "checkpoint.safetensors"
        save_file(tensors, checkpoint)
    return pipeline.convert(config, folder / "out", checkpoint=checkpoint, **options)


@pytest.mark.parametrize(
    "dtype",
    some.of(
        ["float64", "mixed_bfloat16", "mixed_float16"], ["float64", "mixed_bfloat16"]
    ),
)
def test_a_bundle_computes_in_what_is_asked_for(dtype, tmp_path):
    conversion = converted(dtype, tmp_path, formats=["saved_model", "keras"])
    half = dtype.startswith("mixed_")
    titles = [report.title for report in conversion.reports]
    assert ("layers in float64" in titles) == (not half)
    assert (f"{dtype} from float32" in titles) == half
    weights = tf.float32 if half else tf.float64
    loaded = tf.saved_model.load(str(tmp_path / "out"))
    assert {v.dtype for v in loaded.trainable_variables} == {weights}
    served = loaded.signatures["serving_default"](tf.constant(IMAGES))["logits"]
    assert served.dtype == weights
    for path in (tmp_path / "out", tmp_path / "out/model.keras"):
        model = vit_tf.load(path)
        assert model.dtype_policy.name == dtype
        logits = tf.cast(model(tf.cast(IMAGES, weights)), weights)
        atol = (0.02 if half else 1e-12) * np.abs(served).max()
        np.testing.assert_allclose(logits, served, rtol=0, atol=atol)
    described = json.loads((tmp_path / "out/assets.extra/config.json").read_text())
    assert described["dtype"] == dtype


def test_float64_is_kept_where_it_is_asked_for(tmp_path):
    tensors = {
        name: tensor + 1e-12 * np.arange(tensor.size).reshape(tensor.shape)
        for name, tensor in random_tensors(micro_config()).items()
    }
    kept = converted("float64", tmp_path, tensors)
    assert not any("rounded" in note for note in kept.source["notes"])
    found = mapping.extract(vit_tf.load(tmp_path / "out"))
    for name, tensor in tensors.items():
        assert tensor.dtype == np.float64
        np.testing.assert_array_equal(found[name], tensor)


def test_rounding_is_said(tmp_path):
    tensors = {
        k: v.astype("float64") for k, v in random_tensors(micro_config()).items()
    }
    rounded = converted("float32", tmp_path, tensors)
    assert "float64 is rounded to float32" in str(rounded)


@pytest.mark.parametrize("dtype", [np.float16, ml_dtypes.bfloat16])
def test_half_precision_becomes_float32_exactly(dtype, tmp_path):
    tensors = {k: v.astype(dtype) for k, v in random_tensors(micro_config()).items()}
    converted("float32", tmp_path, tensors)
    model = vit_tf.load(tmp_path / "out")
    for name, tensor in mapping.extract(model).items():
        np.testing.assert_array_equal(tensor, tensors[name].astype(np.float32))
    expected = proof.original(micro_config(), tensors, "float32").logits(IMAGES)
    np.testing.assert_allclose(model(IMAGES), expected, rtol=0, atol=1e-5)


def test_another_dtype_is_refused(tmp_path):
    message = refused(
        tmp_path, *MICRO, "--checkpoint=random:0", "--config.dtype=float8"
    )
    assert message == (
        "config.dtype='float8' found, float64, float32, mixed_bfloat16, mixed_float16 "
        "expected"
    )
