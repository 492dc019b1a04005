"""timm's local directories: what they state, and what is said of wrong ones."""

import json
import shutil

import numpy as np
import pytest
from cli import MICRO, MODEL, ROOT, converted, refused, run
from safetensors.numpy import load_file

import vit_tf
from vit_tf import mapping

pytestmark = pytest.mark.usefixtures("shared_bench", "without_files")
DIGITS = ROOT / "examples/digits"
STATED = json.loads((DIGITS / "config.json").read_text())


@pytest.fixture
def digits(tmp_path):
    """A copy, and what writes another config.json into it."""
    shutil.copytree(DIGITS, tmp_path / "digits")

    def edited(text=None, **changes):
        text = json.dumps({**STATED, **changes}) if text is None else text
        (tmp_path / "digits/config.json").write_text(text)
        return f"--checkpoint={tmp_path / 'digits'}"

    return edited


@pytest.mark.parametrize(
    "model", [[], [f"--model={MODEL}"], [f"--model={MODEL}.fb_in1k"]]
)
def test_it_states_its_arguments_also_where_a_model_is_named(model, tmp_path):
    out = tmp_path / "bundle"
    converted(*model, f"--checkpoint={DIGITS}", f"--out={out}")
    found = mapping.extract(vit_tf.load(out))
    tensors = load_file(DIGITS / "model.safetensors")
    assert set(found) == set(tensors)
    for name, tensor in tensors.items():
        np.testing.assert_array_equal(found[name], tensor)
    described = json.loads((out / "assets.extra/config.json").read_text())
    assert described["license"] == "bsd-3-clause"
    assert described["data"]["mean"] == [0.305]
    assert described["label_names"] == list("0123456789")


def test_its_configuration_is_found_from_python(tmp_path):
    for name in ("", MODEL):
        vit_tf.convert(name, tmp_path / f"bundle{name}", checkpoint=DIGITS)
        assert vit_tf.load(tmp_path / f"bundle{name}").img_size == (8, 8)


def test_a_legacy_config_is_read(digits, tmp_path):
    flat = {"architecture": MODEL, **STATED["pretrained_cfg"], "model_args": None}
    arguments = {
        k: v
        for k, v in STATED["model_args"].items()
        if k not in ("img_size", "in_chans")
    }
    digits(**{**flat, "model_args": arguments, "pretrained_cfg": None})
    converted(digits(json.dumps({**flat, "model_args": arguments})),
              f"--out={tmp_path / 'bundle'}")  # fmt: skip
    assert vit_tf.load(tmp_path / "bundle").img_size == (8, 8)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("{", "config.json: not JSON (Expecting property name"),
        ("", "config.json: not JSON (Expecting value"),
        ("[1, 2]", "config.json: list found; expected: a JSON object"),
        ("{}", "does not tell which model it is: none that is known by its tensors"),
    ],
)
def test_a_config_that_is_not_timms(text, expected, digits, tmp_path):
    message = refused(tmp_path, digits(text))
    assert expected in message
    assert "\n" not in message


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"architecture": 7}, ["architecture = 7 found, str expected"]),
        ({"architecture": None}, ["expected: timm's config.json, which names an arch"]),
        ({"architecture": "resnet50"}, ["'resnet50'"]),
        (
            {"model_args": [1], "num_classes": "ten", "global_pool": 3},
            ["model_args = [1]", "num_classes = 'ten'", "global_pool = 3"],
        ),
        ({"pretrained_cfg": "x"}, ["pretrained_cfg = 'x' found, dict expected"]),
        (
            {"pretrained_cfg": {"input_size": [8, 8]}},
            ["input_size = [8, 8] found, 3 whole numbers expected"],
        ),
        (
            {"model_args": {"fix_init": True, "rope": True}},
            ["no argument ['fix_init', 'rope']; it has img_size"],
        ),
        (
            {"model_args": {"depth": "four", "num_heads": True, "qkv_bias": 1}},
            [
                "depth='four' found, int expected; num_heads=True found, int expected; "
                "qkv_bias=1 found, bool expected"
            ],
        ),
        ({"model_args": {"name": "x"}}, ["config.json", "'name'"]),
    ],
)
def test_every_wrong_entry_is_named(changes, expected, digits, tmp_path):
    message = refused(tmp_path, digits(**changes))
    assert [part for part in expected if part not in message] == []
    assert "\n" not in message


def test_the_model_that_is_named_must_be_the_one_stated(digits, tmp_path):
    message = refused(tmp_path, digits(), "--model=deit_small_patch16_224")
    assert message == (
        f"{tmp_path}/digits/config.json: the architecture '{MODEL}' found, "
        "'deit_small_patch16_224' expected"
    )


@pytest.mark.parametrize(
    "arguments",
    [
        ["--config.model.num_heads=6"],
        [f"--config={ROOT}/configs/deit.py:{MODEL}", *MICRO[1:]],
    ],
)
def test_weights_are_not_put_into_another_model_that_they_fit(
    arguments, digits, tmp_path
):
    message = refused(tmp_path, digits(), *arguments)
    assert "digits/config.json: " in message
    assert " found, " in message
    assert ("num_heads=3 found, 6 expected" in message) == (len(arguments) == 1)


def test_a_rate_that_matters_in_training_only_may_be_changed(digits, tmp_path):
    out = f"--out={tmp_path / 'bundle'}"
    assert run(digits(), out, "--config.model.drop_path_rate=0.1").code == 0
    assert vit_tf.load(tmp_path / "bundle").drop_path_rate == 0.1


def test_a_folder_without_config(digits, tmp_path):
    flag = digits()
    (tmp_path / "digits/config.json").unlink()
    message = refused(tmp_path, flag)
    assert message.endswith(
        "digits does not tell which model it is: none that is known by its tensors; "
        "expected: --model=NAME"
    )
    out = f"--out={tmp_path / 'bundle'}"
    converted(flag, f"--model={MODEL}", "--config.model.num_heads=3", out)
    assert vit_tf.load(tmp_path / "bundle").img_size == (8, 8)


def test_a_folder_without_weights(digits, tmp_path):
    flag = digits()
    (tmp_path / "digits/model.safetensors").unlink()
    for number in range(9):
        (tmp_path / f"digits/model-{number}.safetensors").write_bytes(b"")
    message = refused(tmp_path, flag)
    assert "model-0.safetensors, " in message
    assert message.endswith(
        ", ... found; expected: model.safetensors or model.safetensors.index.json or "
        "pytorch_model.bin or pytorch_model.bin.index.json"
    )
