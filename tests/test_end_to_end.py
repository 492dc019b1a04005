"""From a file as its users have it to a bundle, and back, by the commands."""

import hashlib
import itertools
import json
import os
import subprocess
import sys

import flax_vit
import numpy as np
import originals_transformers as originals
import pytest
import some
import tensorflow as tf
from cli import MODEL, converted
from dialect_check import randomised
from fake_server import Served, serving
from safetensors.numpy import load_file, save_file
from test_augreg import line, written
from test_flax import KINDS

import vit_tf
from vit_tf import to_timm
from vit_tf.reference import timm, torch

pytestmark = pytest.mark.usefixtures("shared_bench")
IMAGES = np.random.default_rng(0).standard_normal((2, 32, 32, 3), np.float32)
CHANNELS_FIRST = torch.from_numpy(IMAGES.transpose(0, 3, 1, 2).copy())


def served(bundle, images=IMAGES):
    """What TensorFlow alone makes of a bundle."""
    return tf.saved_model.load(str(bundle))(tf.constant(images)).numpy()


def assert_near(found, expected, tolerance=1e-5):
    atol = tolerance * np.abs(expected).max()
    np.testing.assert_allclose(found, expected, rtol=0, atol=atol)


def test_a_folder_of_transformers_says_all_of_itself(tmp_path):
    labels = dict(enumerate(["ant", "bee", "cat", "dog", "eel"]))
    model = randomised(originals.vit(id2label=labels)).float()
    model.save_pretrained(tmp_path / "vit")
    prepared = dict(
        image_mean=[0.5] * 3, image_std=[0.25] * 3, resample=2, do_resize=True,
        size={"height": 32, "width": 32},
    )  # fmt: skip
    (tmp_path / "vit/preprocessor_config.json").write_text(json.dumps(prepared))
    out = tmp_path / "out"
    text = converted(f"--checkpoint={tmp_path / 'vit'}", f"--out={out}")
    assert "names of Hugging Face transformers" in text
    with torch.inference_mode():
        expected = model(CHANNELS_FIRST).logits.numpy()
    assert_near(served(out), expected)
    described = json.loads((out / "assets.extra/config.json").read_text())
    assert described["label_names"] == list(labels.values())
    assert described["data"] == {
        "input_size": [3, 32, 32],
        "mean": [0.5] * 3,
        "std": [0.25] * 3,
        "interpolation": "bilinear",
        "crop_pct": 1.0,
        "crop_mode": "squash",
        "pillow": "13.0",
    }
    assert described["model"]["norm_layer"] == "LayerNorm(eps=1e-12)"


JAX = {"augreg": "vit_tiny_patch16_224", "hybrid": "vit_small_r26_s32_224"}


@pytest.mark.usefixtures("without_files_here")
@pytest.mark.parametrize(
    ("name", "reference"),
    some.of(
        itertools.product(JAX, ("timm", "jax")), [("augreg", "timm"), ("hybrid", "jax")]
    ),
)
def test_a_jax_file_is_the_function_that_is_asked_for(name, reference, tmp_path):
    kind, model = KINDS[name], JAX[name]
    parameters = flax_vit.random_parameters(kind)
    parameters = {k: v.astype(np.float32) for k, v in parameters.items()}
    np.savez(tmp_path / "file.npz", **parameters)
    out = tmp_path / "out"
    text = converted(
        f"--model={model}",
        f"--checkpoint={tmp_path / 'file.npz'}",
        f"--config.parity.reference={reference}",
        f"--out={out}",
    )
    line = next(line for line in text.splitlines() if line.startswith("function"))
    assert line.startswith(f"function  {reference}'s: logits of timm's and JAX's are ")
    images = np.random.default_rng(0).standard_normal(
        (2, *vit_tf.load(out).img_size, 3), np.float32
    )
    expected = flax_vit.logits(kind, parameters, images.astype(np.float64))
    apart = np.abs(served(out, images) - expected).max() / np.abs(expected).max()
    assert (apart < 1e-5) == (reference == "jax")
    assert apart < 0.01
    described = json.loads((out / "assets.extra/config.json").read_text())
    assert described["data"]["mean"] == described["data"]["std"] == [0.5] * 3
    proven = json.loads((out / "assets.extra/parity.json").read_text())
    assert proven["function"]["reference"] == reference
    assert 0 < proven["function"]["apart"] < 0.01


@pytest.mark.usefixtures("without_files_here")
def test_a_jax_file_need_not_be_named(tmp_path):
    """timm's DeiTs are the same models as its ViTs, and are found for it, too."""
    parameters = flax_vit.random_parameters(KINDS["augreg"])
    np.savez(tmp_path / "file.npz", **{k: v.astype("f") for k, v in parameters.items()})
    text = converted(f"--checkpoint={tmp_path / 'file.npz'}", f"--out={tmp_path / 'o'}")
    assert "timm has no name for its model; the closest is deit_" in text
    assert "function  timm's: logits of timm's and JAX's are " in text


@pytest.mark.usefixtures("without_files_here")
@pytest.mark.parametrize("dtype", ["float32", "float16", "bfloat16"])
def test_there_and_back_is_bitwise_the_source(dtype, tmp_path):
    original = timm.create_model(
        MODEL, depth=2, embed_dim=24, img_size=32, num_classes=7
    )
    source = tmp_path / "source.safetensors"
    import ml_dtypes

    kind = ml_dtypes.bfloat16 if dtype == "bfloat16" else dtype
    tensors = {k: v.numpy().astype(kind) for k, v in original.state_dict().items()}
    save_file(tensors, source)
    flags = [f"--model={MODEL}", "--config.model.num_heads=3"]
    converted(*flags, f"--checkpoint={source}", f"--out={tmp_path / 'out'}")
    to_timm.run(["", f"--bundle={tmp_path / 'out'}", f"--out={tmp_path / 'back'}"])
    found = load_file(tmp_path / "back/model.safetensors")
    assert set(found) == set(tensors)
    for name, tensor in tensors.items():
        assert found[name].dtype == tensor.dtype
        assert found[name].tobytes() == tensor.tobytes()
    back = timm.create_model(f"local-dir:{tmp_path / 'back'}", pretrained=True).eval()
    with torch.inference_mode():
        expected = back(CHANNELS_FIRST).numpy()
    assert_near(served(tmp_path / "out"), expected)


def test_what_was_trained_here_goes_back_and_comes_again(tmp_path):
    checkpoint = "--checkpoint=random:0"
    micro = [
        f"--config.model.{name}={value}"
        for name, value in dict(
            depth=2, embed_dim=24, num_heads=3, img_size=32, num_classes=7
        ).items()
    ]
    out = tmp_path / "out"
    converted(f"--model={MODEL}", *micro, checkpoint, f"--out={out}")
    model = vit_tf.load(out)
    model.compile("sgd", "mse", jit_compile=False)
    model.fit(IMAGES, np.zeros((2, 7)), verbose=0)
    assert np.abs(served(out) - model(IMAGES)).max() > 1e-4
    model.save(tmp_path / "trained.keras")
    back = tmp_path / "back"
    to_timm.run(["", f"--bundle={tmp_path / 'trained.keras'}", f"--out={back}"])
    original = timm.create_model(f"local-dir:{back}", pretrained=True).eval()
    with torch.inference_mode():
        assert_near(original(CHANNELS_FIRST).numpy(), model(IMAGES))
    for source in ("trained.keras", "back"):
        again = tmp_path / f"from_{source}"
        converted(f"--checkpoint={tmp_path / source}", f"--out={again}")
        assert_near(served(again), model(IMAGES))
    model.save_weights(tmp_path / "trained.weights.h5")
    again = tmp_path / "from_weights"
    weights = f"--checkpoint={tmp_path / 'trained.weights.h5'}"
    converted(f"--model={MODEL}", *micro, weights, f"--out={again}")
    assert_near(served(again), model(IMAGES))


@pytest.mark.usefixtures("without_files_here")
def test_a_file_in_shards_and_its_folder_are_one(tmp_path):
    original = timm.create_model(MODEL, depth=1, img_size=32, num_classes=7)
    tensors = {k: v.numpy() for k, v in original.state_dict().items()}
    names = sorted(tensors)
    shards = {"model-1.safetensors": names[::2], "model-2.safetensors": names[1::2]}
    folder = tmp_path / "sharded"
    folder.mkdir()
    for shard, held in shards.items():
        save_file({name: tensors[name] for name in held}, folder / shard)
    index = {"weight_map": {n: shard for shard, held in shards.items() for n in held}}
    (folder / "model.safetensors.index.json").write_text(json.dumps(index))
    out = tmp_path / "out"
    converted(f"--model={MODEL}", f"--checkpoint={folder}", f"--out={out}")
    with torch.inference_mode():
        assert_near(served(out), original.eval()(CHANNELS_FIRST).numpy())
    files = ["model.safetensors.index.json", *shards]
    content = b"".join((folder / name).read_bytes() for name in files)
    proven = json.loads((out / "assets.extra/parity.json").read_text())
    assert proven["source"]["sha256"] == hashlib.sha256(content).hexdigest()


def test_augregs_best_is_fetched_and_converted(tmp_path, monkeypatch):
    kind = KINDS["augreg"]
    row = line("Ti/16", "0.7597")
    np.savez(tmp_path / "file.npz", **flax_vit.random_parameters(kind))
    table = written(tmp_path / "index.csv", [row, line("S/16", "0.8055")])
    bucket = "/vit_models/augreg"
    files = {
        f"{bucket}/index.csv": Served(table.read_bytes()),
        f"{bucket}/{row['adapt_filename']}.npz": Served(
            (tmp_path / "file.npz").read_bytes()
        ),
    }
    with serving(files) as (endpoint, _):
        environment = {
            **os.environ,
            "VIT_TF_GCS_ENDPOINT": endpoint,
            "VIT_TF_CACHE": str(tmp_path / "cache"),
        }
        flags = ["--max_params=10e6", "--convert", f"--out={tmp_path / 'out'}"]
        done = subprocess.run(
            [sys.executable, "-m", "vit_tf.augreg", *flags],
            env=environment, capture_output=True, text=True,
        )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert row["adapt_filename"] in done.stdout
    described = json.loads((tmp_path / "out/assets.extra/config.json").read_text())
    assert described["architecture"] == "vit_tiny_patch16_224"
    assert described["model"]["num_classes"] == kind.classes
    assert described["model"]["num_heads"] == kind.heads
