"""convert.py's flags: what they mean, and what is said of wrong ones."""

import numpy as np
import pytest
from cli import MICRO, MODEL, ROOT, converted, refused, run

import convert
import vit_tf

pytestmark = pytest.mark.usefixtures("shared_bench", "without_files")
RANDOM = "--checkpoint=random:0"
PREPROCESSING = "--config.preprocessing."


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        ([], ["which model", "--model=NAME", "--config=", "that tells it"]),
        (["--model=deit_tiny_patch16_223"], ["'deit_tiny_patch16_223'", MODEL]),
        (
            [f"--model={MODEL}.fb_in21k"],
            [f"'{MODEL}.fb_in21k'", f"{MODEL}.fb_in1k"],
        ),
        (
            [*MICRO, "--config=configs/deit.py:x"],
            [f"--model={MODEL}", "--config=configs/deit.py:x", "one of them"],
        ),
        (["--config=configs/deit.py:deit_tiny"], ["'deit_tiny'", MODEL]),
        (["--config=configs/deit.py"], ["configs/deit.py", "FILE.py:NAME"]),
        (["--config=configs/none.py:x"], ["configs/none.py", "configs/FAMILY.py:NAME"]),
        (["--config=README.md"], ["README.md", "configs/FAMILY.py:NAME"]),
        ([*MICRO, "--config.model.typo=1"], ["config.model", "'typo'", "embed_dim"]),
        ([*MICRO, "--config.typo.depth=1"], ["config has", "'typo'", "parity"]),
        ([*MICRO, "--config.model.depth.x=1"], ["model.depth has no 'x'", "no fields"]),
        ([*MICRO, "--config.model.depth=abc"], ["model.depth", "'abc'", "int"]),
        ([*MICRO, "--config.model.depth"], ["--config.model.depth", "Missing value"]),
        ([*MICRO, "--config.model.qkv_bias=abc"], ["qkv_bias", "'abc'", "bool"]),
        ([*MICRO, "--config.model.init_values=x"], ["init_values", "'x'", "float"]),
        ([*MICRO, "--config.model.img_size=abc"], ["img_size", "'abc'", "int | tuple"]),
        ([*MICRO, "--config.model.img_size=(1,2,3)"], ["img_size", "(1, 2, 3)"]),
        ([*MICRO, "--config.model.num_heads=5"], ["24", "5 heads"]),
        ([*MICRO, "--config.model.global_pool=x"], ["global_pool", "'x'", "'avg'"]),
        ([*MICRO, "--config.parity.dtype=half"], ["'half'", "float32 or float64"]),
        ([*MICRO, "--config.parity.images=0"], ["images=0", "1 or more"]),
        ([*MICRO, "--config.preprocessing.crop=1"], ["no 'crop'", "crop_pct"]),
        (
            [*MICRO, f"{PREPROCESSING}crop_pct=0", f"{PREPROCESSING}crop_mode=top"],
            ["config.preprocessing.crop_pct=0", "config.preprocessing.crop_mode='top'"],
        ),
        (
            [*MICRO, f"{PREPROCESSING}mean=(1.,2.)"],
            ["preprocessing.mean=(1.0, 2.0)", "3", "numbers"],
        ),
        ([*MICRO, f"{PREPROCESSING}mean=('a','b')"], ["mean=('a', 'b')", "float"]),
        ([*MICRO, f"{PREPROCESSING}std=0"], ["preprocessing.std"]),
        ([*MICRO, f"{PREPROCESSING}interpolation=nearest"], ["'nearest'", "lanczos"]),
        ([*MICRO, f"{PREPROCESSING}pillow=8"], ["pillow='8'", "13.0"]),
        (
            [*MICRO, "--config.model.in_chans=4", f"{PREPROCESSING}crop_pct=1"],
            ["preprocessing.input_size=(4,", "1 or 3"],
        ),
        ([*MICRO, "--formats=saved_model,pdf"], ["pdf", "saved_model, keras"]),
        ([*MICRO, "--overwrite=maybe"], ["--overwrite", "'maybe'", "bool"]),
        ([*MICRO, "--typo=1"], ["'typo'", "--help"]),
        ([*MICRO, "mine.pth"], ["'mine.pth'", "flags only"]),
        ([*MICRO, "--checkpoint=random:abc"], ["'abc'", "a whole number"]),
        ([*MICRO, "--checkpoint=random:-1"], ["'-1'", "a whole number"]),
        ([*MICRO, "--checkpoint="], ["--checkpoint=", "leave it out"]),
        (["--checkpoint=/no/such.pth"], ["/no/such.pth", "no such file"]),
        ([*MICRO, "--checkpoint=/no/such.pth"], ["/no/such.pth", "no such file"]),
        ([*MICRO, "--config.parity.reference=flax"], ["'flax'", "timm or jax"]),
    ],
    ids=lambda value: " ".join(value[-1:]) if isinstance(value, list) else None,
)
def test_a_wrong_flag_is_named_with_what_is_expected(
    arguments, expected, tmp_path, monkeypatch
):
    monkeypatch.chdir(ROOT)
    if not any(argument.startswith("--checkpoint") for argument in arguments):
        arguments = [RANDOM, *arguments]
    message = refused(tmp_path, *arguments)
    assert [part for part in expected if part not in message] == []
    assert "\n" not in message


def test_a_model_is_required(tmp_path):
    assert refused(tmp_path).startswith("no model is named; expected: --model=NAME")


def test_out_is_required():
    result = run(*MICRO, RANDOM)
    assert result.code == 1
    assert "--out=DIR is missing" in result.err


def test_debug_shows_where_an_error_comes_from(tmp_path):
    result = run(*MICRO, "--checkpoint=/none", f"--out={tmp_path / 'b'}", "--debug")
    assert result.code == 1
    assert "Traceback" in result.err
    assert result.err.endswith("convert.py: error: /none: no such file or folder; "
                               "expected: a checkpoint")  # fmt: skip


def test_an_unexpected_error_is_named(tmp_path, monkeypatch):
    def broken(*_, **__):
        raise ZeroDivisionError("integer modulo by zero")

    monkeypatch.setattr("vit_tf.pipeline.convert", broken)
    message = refused(tmp_path, *MICRO, RANDOM)
    assert message == (
        "ZeroDivisionError: integer modulo by zero (--debug shows where)"
    )


def test_flags_may_be_given_with_a_space_and_one_dash():
    model = f"{MODEL}.fb_in1k"
    for argv in (["--model", model], ["-model", model], [f"-model={model}"]):
        config = convert.with_config_flag(["convert.py", *argv])[1]
        assert config == f"--config={ROOT}/configs/deit.py:{model}"


def test_model_is_short_for_config(tmp_path):
    overrides = MICRO[1:]
    config = f"--config={ROOT}/configs/deit.py:{MODEL}"
    for name, flag in (("model", f"--model={MODEL}"), ("config", config)):
        converted(flag, *overrides, RANDOM, f"--out={tmp_path / name}")
    described = [tmp_path / n / "assets.extra/config.json" for n in ("model", "config")]
    assert described[0].read_text() == described[1].read_text()
    weights = [
        vit_tf.load(tmp_path / name).get_weights() for name in ("model", "config")
    ]
    for one, other in zip(*weights, strict=True):
        np.testing.assert_array_equal(one, other)


def test_the_default_tag_is_taken_with_timms_own_weights_only():
    argv = convert.with_config_flag(["convert.py", f"--model={MODEL}"])
    assert argv[1].endswith(f"deit.py:{MODEL}.fb_in1k")
    argv = convert.with_config_flag(["convert.py", f"--model={MODEL}", RANDOM])
    assert argv[1].endswith(f"deit.py:{MODEL}")


def test_a_tag_brings_its_classes_and_image_size_unless_a_flag_says_otherwise(tmp_path):
    small = MICRO[1:4]
    model = "--model=vit_tiny_patch16_224.augreg_in21k"
    printed = converted(model, *small, RANDOM, f"--out={tmp_path / 'tag'}")
    head = vit_tf.load(tmp_path / "tag").head
    assert head.units == 21843
    assert "random:0" in printed
    model = "--model=vit_tiny_patch16_384.augreg_in21k_ft_in1k"
    flag = "--config.model.num_classes=7"
    converted(model, *small, flag, RANDOM, f"--out={tmp_path / 'flag'}")
    loaded = vit_tf.load(tmp_path / "flag")
    assert (loaded.img_size, loaded.head.units) == ((384, 384), 7)


def test_the_same_seed_gives_the_same_bundle(tmp_path):
    for name, seed in (("a", 3), ("b", 3), ("c", 4)):
        converted(*MICRO, f"--checkpoint=random:{seed}", f"--out={tmp_path / name}")
    a, b, c = (vit_tf.load(tmp_path / name).get_weights() for name in "abc")
    assert all(np.array_equal(x, y) for x, y in zip(a, b, strict=True))
    assert not any(np.array_equal(x, y) for x, y in zip(a, c, strict=True))


def test_what_is_printed_names_source_parity_and_files(tmp_path):
    out = tmp_path / "bundle"
    result = run(*MICRO, RANDOM, f"--out={out}", "--formats=saved_model,keras")
    for part in ("random:0", "layers in float32: passed", f"{out}", "model.keras"):
        assert part in result.out
    assert "INFO" not in result.err  # TensorFlow's notes on what it writes
