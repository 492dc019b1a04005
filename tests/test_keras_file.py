"""Models that Keras saved come back as timm's tensors, bitwise, or not at all."""

import json
import re
import shutil
import zipfile

import h5py
import keras
import numpy as np
import pytest
from micro import micro_config, random_tensors
from test_checkpoints import assert_same

from vit_tf import checkpoints, keras_file, mapping, models
from vit_tf.checkpoints import errors

RATES = dict(drop_rate=0.1, attn_drop_rate=0.1, drop_path_rate=0.1)
UNSAFE = errors.UnsafeCheckpointError
SMALL = [
    "deit_tiny_distilled_patch16_224",
    "swin_tiny_patch4_window7_224",
    "swinv2_tiny_window8_256",
    "cait_xxs24_224",
    "vit_small_r26_s32_224",
    "vit_base_patch16_siglip_224",
]


def filled(config, **options):
    model = models.build(config, **options)
    mapping.assign(model, random_tensors(config))
    return model


@pytest.mark.parametrize("name", SMALL)
def test_every_tensor_comes_back_bitwise(name, tmp_path):
    config = models.small_config(name)
    model = filled(config)
    model.save(tmp_path / "a.keras")
    model.save_weights(tmp_path / "a.weights.h5")
    found = keras_file.read_config(tmp_path / "a.keras")
    assert (found.architecture, found.family) == (name, config.family)
    assert models.build(found).get_config() == model.get_config()
    expected = mapping.extract(model)
    assert_same(keras_file.read_tensors(tmp_path / "a.keras"), expected)
    assert_same(keras_file.read_tensors(tmp_path / "a.weights.h5", config), expected)


@pytest.mark.parametrize("dtype", ["float64", "bfloat16", "mixed_bfloat16"])
def test_the_dtype_is_kept(dtype, tmp_path):
    model = filled(micro_config(), dtype=dtype)
    model.save(tmp_path / "a.keras")
    found = keras_file.read_tensors(tmp_path / "a.keras")
    assert_same(found, mapping.extract(model))


def test_a_fine_tuned_model_comes_back(tmp_path):
    model = filled(micro_config(**RATES))
    before = mapping.extract(model)
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile("adam", loss, metrics=["accuracy"], jit_compile=False)
    images = np.random.default_rng(0).random((2, 32, 32, 3), np.float32)
    model.fit(images, np.array([0, 1]), verbose=0)
    model.save(tmp_path / "a.keras")
    found = keras_file.read_tensors(tmp_path / "a.keras")
    assert_same(found, mapping.extract(model))
    assert any(np.any(found[name] != before[name]) for name in before)
    assert keras_file.read_config(tmp_path / "a.keras").model.drop_rate == 0.1


@pytest.fixture
def saved(tmp_path):
    path = tmp_path / "a.keras"
    filled(micro_config()).save(path)
    return path


def refused(path, error, *expected, config=None):
    with pytest.raises(error) as raised:
        keras_file.read_tensors(path, config)
    assert [part for part in expected if part not in str(raised.value)] == []
    assert str(path) in str(raised.value)


def rewritten(path, change):
    """The file with another config.json."""
    with zipfile.ZipFile(path) as file:
        members = {name: file.read(name) for name in file.namelist()}
    stated = json.loads(members["config.json"])
    change(stated)
    with zipfile.ZipFile(path, "w") as file:
        for name, data in (members | {"config.json": json.dumps(stated)}).items():
            file.writestr(name, data)


def test_another_model_is_not_taken(saved):
    refused(
        saved,
        errors.CheckpointError,
        " does not fit deit_tiny_patch16_224 (",
        "\n ! head.bias: shape (7,) found, (9,) expected",
        "\n - blocks.0.ls1.gamma: in the model only",
        "\n + blocks.0.attn.proj/1: in the file only",
        config=micro_config(num_classes=9, init_values=1e-5, proj_bias=False),
    )


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        (
            lambda c: c.update(module="keras.layers", class_name="Lambda"),
            "keras.layers.Lambda found; expected: a model of vit_tf its",
        ),
        (lambda c: c.update(module="os", class_name="system"), "os.system found"),
        (
            lambda c: c.update(
                module="vit_tf.models.features", class_name="FeatureGetter"
            ),
            "features.FeatureGetter found",
        ),
        (lambda c: c.update(class_name="Block"), "vision_transformer.Block found"),
        (lambda c: c.update(config=[1]), "vision_transformer.VisionTransformer found"),
        (lambda c: c["config"].update(rope=1), "no argument ['rope']"),
        (lambda c: c["config"].update(depth="two"), "depth='two' found, int expected"),
        (
            lambda c: c["config"].update(depth=10**9),
            "depth=1000000000 found, at most 32 expected",
        ),
        (
            lambda c: c["config"].update(embed_dim=10**7 * 3),
            "embed_dim=30000000 found, at most 96 expected",
        ),
        (lambda c: c["config"].update(num_heads=5), "24 does not divide into 5 heads"),
        (lambda c: c["config"].update(name="cait_xxs24_224"), "config.json: "),
    ],
)
def test_a_config_that_is_not_ours_is_named(change, expected, saved):
    rewritten(saved, change)
    refused(saved, errors.CheckpointError, expected)


def test_a_model_of_another_name_keeps_its_arguments(tmp_path):
    filled(micro_config(), model_name="student").save(tmp_path / "a.keras")
    config = keras_file.read_config(tmp_path / "a.keras")
    assert (config.architecture, config.model.num_classes) == ("student", 7)


def test_a_model_that_contains_ours_is_named(tmp_path):
    inputs = keras.Input((32, 32, 3))
    keras.Model(inputs, filled(micro_config())(inputs)).save(tmp_path / "a.keras")
    refused(tmp_path / "a.keras", errors.UnknownLayoutError, ".Functional found")


def test_weights_alone_do_not_say_their_model(tmp_path):
    path = tmp_path / "a.weights.h5"
    filled(micro_config()).save_weights(path)
    with pytest.raises(ValueError, match="does not say which model it is of"):
        keras_file.read_tensors(path)


def edited(path, change):
    shutil.copy(path, path.with_name("b.weights.h5"))
    with h5py.File(path.with_name("b.weights.h5"), "r+") as file:
        change(file)
    return path.with_name("b.weights.h5")


def replaced(file, value, **options):
    del file["head/vars/0"]
    if isinstance(value, np.ndarray):
        file["head/vars"].create_dataset("0", data=value, **options)
    else:
        file["head/vars/0"] = value


@pytest.mark.parametrize(
    ("change", "error", "expected"),
    [
        (
            lambda f: replaced(f, h5py.ExternalLink("/etc/passwd", "/x")),
            UNSAFE,
            "0: links found",
        ),
        (lambda f: replaced(f, h5py.SoftLink("/vars/0")), UNSAFE, "0: links found"),
        (
            lambda f: replaced(f, np.ones((24, 7)), compression="gzip"),
            UNSAFE,
            "bytes in other places",
        ),
        (
            lambda f: replaced(
                f, np.ones((24, 7)), external=[("/etc/passwd", 0, 1344)]
            ),
            UNSAFE,
            "bytes in other places",
        ),
        (
            lambda f: replaced(f, np.ones((24, 7), np.complex64)),
            errors.UnknownLayoutError,
            "head/0 (complex64) found",
        ),
        (
            lambda f: f.create_dataset("more", data=np.ones(3)),
            errors.UnknownLayoutError,
            "'more' found",
        ),
        (
            lambda f: f.create_dataset("head/vars/2", data=np.ones(3)),
            errors.CheckpointError,
            "+ head/2: in the file only",
        ),
        (
            lambda f: f.create_dataset("more/vars/0", data=np.ones(3)),
            errors.UnknownLayoutError,
            "/more/vars without a layer's name found",
        ),
        (
            lambda f: f.copy("head", "more"),
            errors.CorruptCheckpointError,
            "several weights named head/0, head/1 found",
        ),
        (
            lambda f: f.create_dataset("head/vars/x", data=np.ones(3)),
            errors.CorruptCheckpointError,
            "not a whole HDF5 file",
        ),
    ],
)
def test_weights_that_are_not_kerass_are_named(change, error, expected, tmp_path):
    path = tmp_path / "a.weights.h5"
    filled(micro_config()).save_weights(path)
    refused(edited(path, change), error, expected, config=micro_config())


@pytest.mark.parametrize("ending", [".keras", ".weights.h5"])
def test_files_that_are_no_keras_files(ending, tmp_path):
    path = tmp_path / f"a{ending}"
    for data, found in ((b"", "an empty file"), (b"<html>", "an HTML or XML page")):
        path.write_bytes(data)
        refused(path, errors.CorruptCheckpointError, found, config=micro_config())


def test_the_readers_of_other_files_say_what_it_is(saved):
    with pytest.raises(
        errors.UnknownLayoutError, match=re.escape("a Keras model (.keras), ")
    ):
        checkpoints.open_checkpoint(saved)


def test_files_are_known_by_their_names():
    assert keras_file.is_keras_file("a.keras")
    assert keras_file.is_keras_file("a.weights.h5")
    assert not keras_file.is_keras_file("a.safetensors")
