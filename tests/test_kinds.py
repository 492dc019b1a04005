"""One architecture of each kind, in what its users do with it."""

from pathlib import Path

import forked
import keras
import numpy as np
import pytest
import some
import tensorflow as tf
from micro import random_tensors, smallest_config

from vit_tf import mapping, models, proof
from vit_tf.export import saved_model
from vit_tf.reference import torch

KINDS = {  # of each, what changes in another image: height and width in pixels
    "vit_tiny_patch16_224": (48, 80),
    "deit_tiny_distilled_patch16_224": (48, 80),
    "vit_base_patch16_siglip_224": (48, 80),
    "vit_dlittle_patch16_reg1_gap_256": (48, 80),
    "cait_xxs24_224": (48, 80),
    "swin_tiny_patch4_window7_224": (44, 68),
    "swinv2_tiny_window8_256": (44, 68),
    "vit_small_r26_s32_224": (96, 64),
    "vit_small_resnet26d_224": (96, 64),
}
# Of kinds that differ in little, some tests take one; of `.keras` files, the others are
# in `test_formats.py`.
IN_KERAS_FILES = (
    "vit_base_patch16_siglip_224",
    "vit_dlittle_patch16_reg1_gap_256",
    "vit_small_resnet26d_224",
)
IN_OWN_FILES = (  # whose families are compiled by XLA there
    "cait_xxs24_224",
    "swin_tiny_patch4_window7_224",
    "swinv2_tiny_window8_256",
    "vit_small_r26_s32_224",
    "vit_small_resnet26d_224",
)
SERVED = [
    kind for kind in KINDS if kind not in ("vit_tiny_patch16_224", *IN_KERAS_FILES[1:])
]
TRAINED = [kind for kind in KINDS if kind != "vit_small_r26_s32_224"]
FAMILIES = [kind for kind in KINDS if kind not in IN_KERAS_FILES]  # one of each
LEVEL = 1.1  # how far from float32, in units of what torch's autocast on a CPU is


def images_of(batch: int, height: int, width: int) -> np.ndarray:
    rng = np.random.default_rng(batch)
    return rng.standard_normal((batch, height, width, 3), np.float32)


@pytest.mark.parametrize("name", IN_KERAS_FILES)
def test_the_keras_format_keeps_model_and_weights(tmp_path, name):
    model = models.build(smallest_config(name))
    path = tmp_path / "model.keras"
    model.save(path)
    loaded = keras.models.load_model(path)
    assert loaded.get_config() == model.get_config()
    for tensor_name, tensor in mapping.extract(model).items():
        np.testing.assert_array_equal(mapping.extract(loaded)[tensor_name], tensor)
    images = images_of(2, *model.img_size)
    np.testing.assert_array_equal(loaded(images), model(images))


SERVE = """
import sys
import numpy as np
import tensorflow as tf

for directory in sys.argv[1:]:
    serve = tf.saved_model.load(directory).signatures["serving_default"]
    images = np.load(directory + "-images.npz")
    logits = {name: serve(tf.constant(images[name]))["logits"] for name in images}
    np.savez(directory + "-logits.npz", **logits)
assert not {"vit_tf", "torch", "timm"} & set(sys.modules)
"""


@pytest.mark.parametrize("part", range(2))
def test_savedmodels_serve_any_batch_and_size_from_tensorflow_alone(tmp_path, part):
    """With `dynamic_img_size`, loaded in a process without this package."""
    names = SERVED[part::2]
    expected = {name: saved(tmp_path / name, name) for name in names}
    folders = [tmp_path / name for name in names]
    forked.run("-c", SERVE, *folders, imported=forked.TENSORFLOW, check=True)
    for name in names:
        found = np.load(tmp_path / f"{name}-logits.npz")
        for key, logits in expected[name].items():
            atol = 1e-5 * np.abs(logits).max()
            np.testing.assert_allclose(found[key], logits, rtol=0, atol=atol)


def saved(directory: Path, name: str) -> dict[str, np.ndarray]:
    """Writes a SavedModel and images beside it; the logits expected for those."""
    config = smallest_config(name, dynamic_img_size=True)
    model = proof.filled(config, random_tensors(config), "float32")
    saved_model.save(model, directory)
    images = {
        f"{kind}{batch}": images_of(batch, *size)
        for batch in (1, 3, 8)
        for kind, size in (("own", model.img_size), ("other", KINDS[name]))
    }
    np.savez(f"{directory}-images.npz", **images)
    return {key: model(batch).numpy() for key, batch in images.items()}


@pytest.mark.parametrize(
    "name", some.of([n for n in KINDS if not n.startswith("cait")], FAMILIES)
)
def test_other_sizes_are_timms(name):
    """CaiT, whose timm has one size, is tested in its own file."""
    config = models.small_config(name, dynamic_img_size=True)
    tensors = random_tensors(config)
    reference = proof.original(config, tensors, "float64")
    model = proof.filled(config, tensors, "float64")
    served = tf.function(
        model, input_signature=[tf.TensorSpec((None, None, None, 3), tf.float64)]
    )
    for size in (KINDS[name], config.model.img_size, KINDS[name][::-1]):
        images = images_of(2, *size).astype("float64")
        expected = reference.logits(images)
        scale = np.abs(expected).max()
        for found in (model(images), served(images)):
            np.testing.assert_allclose(found, expected, rtol=0, atol=1e-10 * scale)


@pytest.mark.usefixtures("graph_as_traced")
@pytest.mark.parametrize(
    "name", some.of(TRAINED, {*FAMILIES, "vit_small_resnet26d_224"})
)
def test_a_model_is_a_layer_that_fit_trains(name):
    config = smallest_config(name, num_classes=0)
    backbone = proof.filled(config, random_tensors(config), "float32")
    inputs = keras.Input((*backbone.img_size, 3))
    model = keras.Model(inputs, keras.layers.Dense(3)(backbone(inputs)))
    optimizer = keras.optimizers.Adam(1e-2)  # whose steps do not shrink with gradients
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    optimizer.build(model.trainable_variables)  # or the step would be traced twice
    model.compile(optimizer, loss)
    before = {v.path: v.numpy() for v in model.trainable_weights}
    model.fit(images_of(4, *backbone.img_size), np.arange(4) % 3, verbose=0)
    still = [v.path for v in model.trainable_weights if not np.any(v != before[v.path])]
    assert not still


@pytest.mark.parametrize("name", [name for name in KINDS if name not in IN_OWN_FILES])
def test_xla_compiles_a_fixed_size(name):
    """Other families are compiled in their own files."""
    model = models.build(smallest_config(name))
    images = images_of(2, *model.img_size)
    compiled = tf.function(model, jit_compile=True)(images)
    expected = model(images)
    atol = 1e-4 * np.abs(expected).max()
    np.testing.assert_allclose(compiled, expected, rtol=0, atol=atol)


@pytest.mark.parametrize("dtype", ["bfloat16", "float16"])
@pytest.mark.parametrize("name", some.of(KINDS, FAMILIES))
def test_mixed_precision_is_as_near_to_float32_as_timms_autocast(name, dtype):
    config = smallest_config(name)
    tensors = random_tensors(config)
    images = images_of(64, *config.model.img_size)
    reference = proof.original(config, tensors, "float32")
    full = reference.logits(images)
    with torch.autocast("cpu", dtype=getattr(torch, dtype)):
        autocast = reference.logits(images)
    model = proof.filled(config, tensors, f"mixed_{dtype}")
    mixed = tf.function(model)(images).numpy()
    if np.isfinite(autocast).all():
        level = LEVEL * _rounding_of_products(dtype)
        assert _distance(mixed, full) <= level * _distance(autocast, full)
    else:  # timm's F.normalize gives NaN for keys that are zero: those of the padding
        assert (name, dtype) == ("swinv2_tiny_window8_256", "float16")
        assert _distance(mixed, full) < 2e-3 * np.abs(full).max()


def _rounding_of_products(dtype: str) -> float:
    """How far TensorFlow's products are from exact ones, in units of torch's.

    1, but where a CPU has no AVX-512 and TensorFlow cuts a bfloat16 off where torch
    rounds it: 2.
    """
    a, b = np.random.default_rng(0).standard_normal((2, 200, 200), np.float32)
    tensors = [torch.from_numpy(x).to(getattr(torch, dtype)) for x in (a, b)]
    a, b = (x.float().numpy() for x in tensors)  # as they are in half precision
    ours = tf.matmul(*(tf.cast(x, dtype) for x in (a, b)))
    found = {
        "ours": tf.cast(ours, tf.float32).numpy(),
        "torch's": torch.matmul(*tensors).float().numpy(),
    }
    exact = a.astype("float64") @ b
    apart = {whose: _distance(product, exact) for whose, product in found.items()}
    rounding = apart["ours"] / apart["torch's"]
    assert rounding < 2.01
    return max(rounding, 1.0)


def _distance(logits: np.ndarray, full: np.ndarray) -> float:
    """The root mean square difference."""
    return float(np.sqrt(np.mean((logits - full) ** 2)))
