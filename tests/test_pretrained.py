"""timm's pretrained weights, fetched by timm's own code from a hub on this machine."""

import json
import os

import forked
import numpy as np
import pytest
import tensorflow as tf
from cli import ROOT, Result, tree
from fake_hub import serving
from safetensors.numpy import save

import vit_tf
from vit_tf import mapping, source
from vit_tf.checkpoints.errors import CheckpointError, DownloadError

TAG = ".fb_in1k"
SERVED = f"deit_tiny_patch16_224{TAG}"
DAMAGED = f"deit_tiny_distilled_patch16_224{TAG}"
CUT = "vit_tiny_patch16_224.augreg_in21k"
NOT_THERE = "vit_tiny_patch16_384.augreg_in21k_ft_in1k"
SEVEN = "seven classes, 32 pixels"
DOWN = "deit3_small_patch16_224"


def run(folder, endpoint, *commands: list[str]) -> list[Result]:
    """convert.py's results, in a process that takes `endpoint` for the hub."""
    environment = {
        **os.environ,
        "PYTHONPATH": str(ROOT),
        "HF_ENDPOINT": endpoint,
        "HF_HOME": str(folder / "cache"),
        "HF_HUB_DISABLE_XET": "1",
    }
    done = forked.run(
        ROOT / "tests/cli.py",
        imported=forked.TENSORFLOW,  # the hub's client reads where it is at its import
        input=json.dumps(commands),
        env=environment,
        cwd=folder,
        as_traced=True,
        check=True,
    )
    return [Result(**result) for result in json.loads(done.stdout)]


@pytest.fixture(scope="module")
def tensors() -> dict[str, np.ndarray]:
    return dict(source.read(vit_tf.get_config(SERVED), "random:0").tensors)


@pytest.fixture(scope="module")
def conversions(tensors, tmp_path_factory):
    """The folder of the bundles, and each model's result; the first is to succeed."""
    folder = tmp_path_factory.mktemp("pretrained")
    weights = save(tensors)
    files = {
        f"timm/{SERVED}/model.safetensors": weights,
        f"timm/{DAMAGED}/model.safetensors": weights[:-1000],
        f"timm/{CUT}/model.safetensors": weights,
    }
    commands = {
        name: [f"--model={name}", f"--out={folder}/out/{name}", *flags]
        for name, flags in {
            SERVED: ["--config.parity.images=1"],
            DAMAGED: [],
            CUT: [],
            NOT_THERE: [],
        }.items()
    }
    commands[SEVEN] = [
        f"--model={SERVED}", f"--out={folder}/out/{SEVEN}",
        "--config.model.num_classes=7", "--config.model.img_size=32",
    ]  # fmt: skip
    cut = frozenset([f"timm/{CUT}/model.safetensors"])
    with serving(files, cut) as (endpoint, requests):
        results = run(folder, endpoint, *commands.values())
    down = run(folder, endpoint, [f"--model={DOWN}", f"--out={folder}/out/{DOWN}"])
    results = dict(zip(commands, results, strict=True)) | {DOWN: down[0]}
    return folder / "out", results, requests


def test_the_bundle_holds_the_weights_that_were_served(conversions, tensors):
    folder, results, requests = conversions
    assert results[SERVED].code == 0, results[SERVED].err
    found = mapping.extract(vit_tf.load(folder / SERVED))
    assert set(found) == set(tensors)
    for name, tensor in tensors.items():
        np.testing.assert_array_equal(found[name], tensor)
    assert f"GET timm/{SERVED}/model.safetensors" in requests


def test_the_bundle_says_where_they_come_from(conversions):
    folder, _, _ = conversions
    described = json.loads((folder / SERVED / "assets.extra/config.json").read_text())
    assert (described["tag"], described["license"]) == ("fb_in1k", "apache-2.0")
    proof = json.loads((folder / SERVED / "assets.extra/parity.json").read_text())
    assert proof["source"]["uri"] == f"timm:{SERVED}"


def test_classes_of_imagenet_have_their_names(conversions):
    folder, _, _ = conversions
    described = json.loads((folder / SERVED / "assets.extra/config.json").read_text())
    assert described["label_names"][0] == "tench, Tinca tinca"
    assert len(described["label_names"]) == 1000
    loaded = tf.saved_model.load(str(folder / SERVED))
    found = loaded.predict(tf.zeros((1, 224, 224, 3)))
    names = [described["label_names"][i].encode() for i in found["classes"][0]]
    assert found["labels"][0].numpy().tolist() == names
    other = json.loads((folder / SEVEN / "assets.extra/config.json").read_text())
    assert other["label_names"] is None


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        (DAMAGED, "incomplete metadata, file not fully covered"),
        (CUT, "peer closed connection without sending complete message body"),
        (NOT_THERE, "404"),
        (DOWN, "Connection refused"),
    ],
)
def test_weights_that_cannot_be_had_are_one_clear_error(name, expected, conversions):
    _, results, _ = conversions
    result = results[name]
    message = result.err.partition("convert.py: error: ")[2]
    assert result.code == 1
    assert message.startswith(f"timm's weights for {name}")
    assert expected in message
    assert message.endswith("a file as --checkpoint")
    assert "\n" not in message
    assert "Traceback" not in result.err


def test_they_are_adapted_and_it_is_said(conversions, tensors):
    folder, results, _ = conversions
    assert results[SEVEN].code == 0, results[SEVEN].err
    assert "pos_embed: 14 x 14 -> 2 x 2 patches, bicubic" in results[SEVEN].out
    assert "head: 1000 -> 7 classes, drawn anew (seed 0)" in results[SEVEN].out
    found = mapping.extract(vit_tf.load(folder / SEVEN))
    assert found["head.weight"].shape == (7, 192)
    assert found["pos_embed"].shape == (1, 5, 192)
    np.testing.assert_array_equal(found["norm.bias"], tensors["norm.bias"])


def test_nothing_is_left_of_what_failed(conversions):
    folder, _, _ = conversions
    assert {path.name for path in folder.iterdir()} == {SERVED, SEVEN}
    assert "saved_model.pb" in tree(folder / SERVED)


@pytest.mark.parametrize(
    ("cause", "transient"),
    [(ConnectionResetError("reset"), True), (ValueError("no such weights"), False)],
)
def test_what_a_network_does_may_go_well_later(monkeypatch, cause, transient):
    def fetched(name, arguments):
        raise RuntimeError("no weights") from cause

    monkeypatch.setattr(source, "pretrained_tensors", fetched)
    with pytest.raises(CheckpointError, match="cannot be had") as raised:
        source.read(vit_tf.get_config(SERVED))
    assert isinstance(raised.value, DownloadError) == transient
