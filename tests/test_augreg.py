"""The AugReg release's index: what fits, what is best, and what converts it."""

import csv
import dataclasses
import subprocess
import sys
from pathlib import Path

import pytest

import vit_tf
from vit_tf import pipeline
from vit_tf.augreg import checkpoint, index, selection
from vit_tf.augreg.index import AugRegError, Row, read_index
from vit_tf.augreg.table import table
from vit_tf.reference import timm

EXCERPT = Path(__file__).parent.parent / "examples/augreg/index.csv"
COLUMNS = [  # as google-research/vision_transformer's `get_augreg_df` describes them
    "name", "ds", "lr", "aug", "wd", "do", "sd", "best_val", "final_val", "final_test",
    "adapt_ds", "adapt_lr", "adapt_steps", "adapt_resolution", "adapt_final_val",
    "adapt_final_test", "params", "infer_samples_per_sec", "filename", "adapt_filename",
]  # fmt: skip
MODELS = {  # millions of parameters, images a second
    "Ti/16": (5.7, 2097),
    "S/16": (22.1, 1145),
    "B/16": (86.6, 659),
    "R26+S/32": (36.4, 1814),
}


def line(name: str, test: str, **values: str) -> dict[str, str]:
    """One line of an index, the rest of it as most are."""
    params, speed = MODELS[name]
    found = {
        "name": name, "ds": "i21k", "lr": "0.001", "aug": "medium1", "wd": "0.1",
        "do": "0.0", "sd": "0.0", "best_val": "0.46", "final_val": "0.45",
        "final_test": "0.44", "adapt_ds": "imagenet2012", "adapt_lr": "0.01",
        "adapt_steps": "20000", "adapt_resolution": "224", "adapt_final_val": "0.86",
        "adapt_final_test": test, "params": str(int(params * 1e6)),
        "infer_samples_per_sec": str(speed), **values,
    }  # fmt: skip
    stem = name.replace("/", "_").replace("+", "_")
    found["filename"] = (
        f"{stem}-{found['ds']}-300ep-lr_{found['lr']}-aug_{found['aug']}"
        f"-wd_{found['wd']}-do_{found['do']}-sd_{found['sd']}"
    )
    found["adapt_filename"] = (
        f"{found['filename']}--{found['adapt_ds']}-steps_20k-lr_{found['adapt_lr']}"
        f"-res_{found['adapt_resolution']}"
    )
    return found


LINES = [
    line("Ti/16", "0.7597", aug="none", wd="0.03"),
    line("S/16", "0.8055", aug="light1", wd="0.03"),
    line("S/16", "0.8375", aug="light1", wd="0.03", adapt_resolution="384"),
    line("B/16", "0.8454"),
    line("B/16", "0.8599", adapt_resolution="384"),
    line("B/16", "0.9151", adapt_ds="cifar100", adapt_lr="0.003"),
    line("B/16", "0.7990", ds="i1k", aug="strong2", do="0.1", sd="0.1"),
    line("R26+S/32", "0.8385", adapt_resolution="384", infer_samples_per_sec=""),
]


def written(path, lines=LINES, columns=COLUMNS):
    with path.open("w", newline="") as file:
        writer = csv.DictWriter(file, columns, extrasaction="ignore")
        writer.writeheader()
        writer.writerows(lines)
    return path


@pytest.fixture
def path(tmp_path):
    return written(tmp_path / "index.csv")


@pytest.fixture
def rows(path):
    return read_index(path)


def command(*arguments: object) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "vit_tf.augreg", *map(str, arguments)],
        capture_output=True, text=True,
    )  # fmt: skip


def test_an_index_is_read_as_it_is_written(rows):
    assert [field.name for field in dataclasses.fields(Row)] == COLUMNS
    assert len(rows) == len(LINES)
    for row, expected in zip(rows, LINES, strict=True):
        for column, text in expected.items():
            value = getattr(row, column)
            if not text:
                assert value != value
            else:
                assert value == (float(text) if column in index.NUMBERS else text)


def test_columns_may_be_more_and_in_another_order(tmp_path, rows):
    columns = [*reversed(COLUMNS), "note"]
    lines = [{**line, "note": "a, b"} for line in LINES]
    again = read_index(written(tmp_path / "other.csv", lines, columns))
    assert repr(again) == repr(rows)


@pytest.mark.parametrize(
    ("choices", "bounds", "expected"),
    [
        ({}, {}, [0, 1, 2, 3, 4, 5, 6, 7]),
        ({"name": ["B/16"]}, {}, [3, 4, 5, 6]),
        ({"name": ["B/16", "Ti/16"]}, {}, [0, 3, 4, 5, 6]),
        ({"ds": ["i1k"]}, {}, [6]),
        ({"aug": ["light1", "none"]}, {}, [0, 1, 2]),
        ({"wd": ["0.030"]}, {}, [0, 1, 2]),
        ({"do": [".1"], "sd": ["0.1"]}, {}, [6]),
        ({"adapt_ds": ["cifar100"]}, {}, [5]),
        ({"adapt_resolution": ["384"]}, {}, [2, 4, 7]),
        ({}, {"min_accuracy": 0.8454}, [3, 4, 5]),
        ({}, {"min_speed": 1145}, [0, 1, 2]),  # without a measure: not known to fit
        ({}, {"max_params": 22.1e6}, [0, 1, 2]),
        ({"name": ["S/16"]}, {"min_accuracy": 0.83, "max_params": 3e7}, [2]),
    ],
)
def test_filters_are_joined(rows, choices, bounds, expected):
    found = selection.select(rows, choices, bounds)
    assert [rows.index(row) for row in found] == expected


def test_every_value_that_is_in_no_row_is_named(rows):
    choices = {"name": ["B/16", "B/61"], "adapt_resolution": ["256", "big"]}
    with pytest.raises(AugRegError) as error:
        selection.select(rows, choices, {})
    assert str(error.value).splitlines() == [
        "name=B/61 found; expected: B/16, R26+S/32, S/16, Ti/16",
        "adapt_resolution=256,big found; expected: 224, 384",
    ]


def test_filters_that_nothing_fits_say_how_much_each_leaves(rows):
    choices, bounds = {"name": ["Ti/16"]}, {"min_accuracy": 0.8}
    message = (
        "none of 8 rows fits: name=Ti/16 alone fits 1; adapt_final_test>=0.8 alone "
        "fits 6"
    )
    with pytest.raises(AugRegError, match=message):
        selection.select(rows, choices, bounds)


def test_the_best_comes_first_and_what_was_not_measured_last(rows):
    order = selection.ranked(rows, "adapt_final_test")
    assert [row.adapt_final_test for row in order[:3]] == [0.9151, 0.8599, 0.8454]
    for ascending, first in ((False, "Ti/16"), (True, "B/16")):
        order = selection.ranked(rows, "infer_samples_per_sec", ascending=ascending)
        assert (order[0].name, order[-1].name) == (first, "R26+S/32")
    assert selection.ranked(rows[::-1], "wd") == selection.ranked(rows, "wd")


def test_the_best_is_of_accuracies_on_the_same_data(rows):
    imagenet = [row for row in rows if row.adapt_ds == "imagenet2012"]
    order = selection.ranked(imagenet, "adapt_final_test")
    assert selection.best(order, "adapt_final_test") is imagenet[4]
    assert selection.best(rows, "infer_samples_per_sec") is rows[0]
    message = (
        "adapt_final_test on cifar100, imagenet2012 found, which do not compare; "
        "expected: --adapt_ds, one of them"
    )
    with pytest.raises(AugRegError, match=message):
        selection.best(rows, "adapt_final_test")
    with pytest.raises(AugRegError, match="final_val on i1k, i21k found"):
        selection.best(rows, "final_val")
    fewer = [dataclasses.replace(rows[0], ds="i21k_30"), rows[1]]
    assert selection.best(fewer, "final_val") is fewer[0]


@pytest.mark.parametrize("column", ["speed", "name"])
def test_what_cannot_be_sorted_by_is_an_error(rows, column):
    with pytest.raises(AugRegError, match=f"sort='{column}' found; expected: lr, wd, "):
        selection.ranked(rows, column)


def test_a_pretrained_file_is_listed_once(rows):
    order = selection.ranked(rows, "adapt_final_test")
    pretrained = checkpoint.each_once(order, "pretrained")
    assert len({row.filename for row in rows}) == len(pretrained) == 5
    b16 = next(row for row in pretrained if row.name == "B/16")
    assert b16.adapt_final_test == 0.9151  # by the best of what became of it
    assert checkpoint.each_once(order, "finetuned") == order


@pytest.mark.parametrize("name", checkpoint.MODELS)
def test_every_model_is_one_of_timms(name, rows):
    """timm's own tags name the files that they were made from."""
    row = dataclasses.replace(rows[0], name=name, adapt_resolution=224.0)
    architecture = checkpoint.architecture(row, "finetuned")
    assert vit_tf.list_models(architecture) == [architecture]
    assert checkpoint.architecture(row, "pretrained") == architecture
    urls = [
        timm.get_pretrained_cfg(tag).url or ""
        for tag in timm.list_pretrained(f"{architecture}.augreg*")
    ]
    stem = name.replace("/", "_").replace("+", "_")
    assert any(f"/augreg/{stem}-" in url for url in urls)


@pytest.mark.parametrize(
    ("name", "pixels", "expected"),
    [
        ("B/16", 384.0, "vit_base_patch16_384"),
        ("B/8", 384.0, "vit_base_patch8_224"),  # timm has no other
        ("R26+S/32", 128.0, "vit_small_r26_s32_224"),
    ],
)
def test_the_resolution_is_timms_where_it_has_it(rows, name, pixels, expected):
    row = dataclasses.replace(rows[0], name=name, adapt_resolution=pixels)
    assert checkpoint.architecture(row, "finetuned") == expected


def test_a_model_that_is_not_known_is_an_error(rows):
    row = dataclasses.replace(rows[0], name="H/14")
    with pytest.raises(AugRegError, match="name='H/14' found; expected: Ti/16, S/32, "):
        checkpoint.architecture(row, "finetuned")


def test_a_row_is_converted_from_where_the_release_has_it(rows, monkeypatch):
    calls = []

    def convert(*arguments, **options):
        calls.append((arguments, options))
        return "converted"

    monkeypatch.setattr(pipeline, "convert", convert)
    row = selection.ranked(rows, "adapt_final_test")[1]
    for stage in checkpoint.STAGES:
        assert checkpoint.convert(row, "out", stage=stage) == "converted"
    start = "gs://vit_models/augreg/B_16-i21k-300ep-lr_0.001-aug_medium1-wd_0.1-do_0.0"
    end = "-sd_0.0--imagenet2012-steps_20k-lr_0.01-res_384.npz"
    expected = {
        "vit_base_patch16_384": f"{start}{end}",
        "vit_base_patch16_224": f"{start}-sd_0.0.npz",
    }
    for (arguments, options), (name, uri) in zip(calls, expected.items(), strict=True):
        assert arguments == (name, "out")
        assert options["checkpoint"] == uri
        assert options["overwrite"] is False


def test_a_table_has_a_line_a_row(rows):
    lines = table([rows[0], rows[7]], "finetuned").splitlines()
    assert lines[0].split() == [
        "model", "ds", "aug", "wd", "do", "sd", "lr", "adapted", "to", "pixels",
        "params", "images/s", "val", "test", "file",
    ]  # fmt: skip
    assert lines[1].split() == [
        "Ti/16", "i21k", "none", "0.03", "0", "0", "0.001", "imagenet2012", "224",
        "5.7M", "2097", "0.8600", "0.7597", rows[0].adapt_filename,
    ]  # fmt: skip
    assert lines[2].split()[9:12] == ["36.4M", "-", "0.8600"]
    ends = [line.index("images/s") + len("images/s") for line in lines[:1]]
    assert lines[1][: ends[0]].endswith("2097")
    assert lines[2][: ends[0]].endswith("   -")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("", "no column name, ds, lr, .* found; expected: AugReg's index.csv, with"),
        ("<html>\n", "no column name, ds, lr, "),
        (b"PK\x03\x04\xff\xfe", "not a CSV file"),
        (",".join(COLUMNS), "no rows found"),
    ],
)
def test_another_file_than_the_index_is_an_error(tmp_path, content, message):
    path = tmp_path / "index.csv"
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    with pytest.raises(AugRegError, match=message):
        read_index(path)


def test_every_missing_column_and_bad_number_is_named(tmp_path):
    path = written(tmp_path / "some.csv", columns=[c for c in COLUMNS if c != "wd"])
    with pytest.raises(AugRegError, match="no column wd found"):
        read_index(path)
    lines = [LINES[0], {**LINES[1], "lr": "fast"}, {**LINES[2], "params": "5.7M"}]
    with pytest.raises(AugRegError) as error:
        read_index(written(path, lines))
    assert str(error.value).splitlines() == [
        f"{path}: 2 values are no numbers:",
        "   line 3: lr='fast'",
        "   line 4: params='5.7M'",
    ]


def test_the_command_prints_what_fits(path):
    done = command(f"--index={path}", "--name=B/16", "--ds=i21k", "--limit=2")
    assert (done.returncode, done.stderr) == (0, "")
    lines = done.stdout.splitlines()
    assert [line.split()[12] for line in lines[1:3]] == ["0.9151", "0.8599"]
    assert lines[3:] == ["2 of 3 checkpoints that fit"]


def test_the_command_says_how_the_best_is_converted(path):
    done = command(f"--index={path}", "--max_params=30e6", "--best")
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.splitlines()[-1] == (
        "python convert.py --model=vit_small_patch16_384 --checkpoint="
        "gs://vit_models/augreg/S_16-i21k-300ep-lr_0.001-aug_light1-wd_0.03-do_0.0"
        "-sd_0.0--imagenet2012-steps_20k-lr_0.01-res_384.npz --out=DIR"
    )


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--aug=heavy"], "aug=heavy found; expected: light1, medium1, none, strong2"),
        (["--min_accuracy=0.99"], "none of 8 rows fits: adapt_final_test>=0.99 alone"),
        (["--best"], "adapt_final_test on cifar100, imagenet2012 found, which do not"),
        (["--convert"], "expected: --convert and --out=DIR, or neither"),
        (["--out=there"], "expected: --convert and --out=DIR, or neither"),
        (["B/16"], "'B/16' found; expected: --NAME=VALUE only"),
        (["--index=nowhere.csv"], "No such file or directory: 'nowhere.csv'"),
    ],
)
def test_the_command_says_what_is_wrong_in_a_line(path, arguments, message):
    done = command(f"--index={path}", *arguments)
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.startswith("vit_tf.augreg: error: ")
    assert message in done.stderr
    assert len(done.stderr.splitlines()) == 1


def test_the_command_converts_the_best(path, tmp_path):
    """With a stand-in for the conversion, which would need the file itself."""
    code = """
import sys, types
import vit_tf
sys.modules["tensorflow"] = types.ModuleType("tensorflow")
pipeline = vit_tf.pipeline = sys.modules["vit_tf.pipeline"] = types.ModuleType("stub")
pipeline.convert = lambda *arguments, **options: (arguments, options["checkpoint"])
from absl import app
from vit_tf.augreg import __main__
app.run(__main__.main)
"""
    arguments = [f"--index={path}", "--name=S/16", "--convert", f"--out={tmp_path}/o"]
    done = subprocess.run(
        [sys.executable, "-c", code, *arguments], capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    assert lines[1].startswith("S/16")
    assert f"('vit_small_patch16_384', '{tmp_path}/o')" in lines[2]
    assert "-res_384.npz'" in lines[2]


def test_the_excerpt_is_of_the_fine_tuned_files_that_timm_uses():
    rows = read_index(EXCERPT)
    found = {checkpoint.uri(row, "finetuned") for row in rows}
    configs = map(timm.get_pretrained_cfg, timm.list_pretrained("vit_*.augreg_*"))
    urls = {cfg.url for cfg in configs if "/augreg/" in (cfg.url or "")}
    https = {uri.replace("gs://", "https://storage.googleapis.com/") for uri in found}
    assert https == {url for url in urls if "--" in url}
    for row in rows:
        stem = row.name.replace("/", "_").replace("+", "_")
        assert row.filename == (
            f"{stem}-{row.ds}-300ep-lr_{row.lr}-aug_{row.aug}-wd_{row.wd}-do_{row.do}"
            f"-sd_{row.sd}"
        )
        assert row.adapt_filename == (
            f"{row.filename}--{row.adapt_ds}-steps_{row.adapt_steps / 1000:g}k"
            f"-lr_{row.adapt_lr}-res_{row.adapt_resolution:g}"
        )
