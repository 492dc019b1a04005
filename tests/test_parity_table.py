"""`python -m vit_tf.parity`: one row for each architecture."""

import dataclasses
import json
import subprocess

import forked
import pytest

from vit_tf import models
from vit_tf.parity import LayerDiff, table
from vit_tf.parity.table import Row

ROW = Row(
    "vit_tiny_patch16_224",
    152,
    5_717_416,
    {
        "float32": LayerDiff("blocks.8.attn", 3e-6, 1.0),
        "float64": LayerDiff("head", 1e-14, 2.0),
        "gradient": LayerDiff("norm.weight", 3e-15, 1.0),
    },
)


def run_module(*arguments: str) -> subprocess.CompletedProcess:
    return forked.run("-m", "vit_tf.parity", *arguments)


def test_small_models_are_compared_and_the_page_names_the_command(tmp_path):
    page, rows = tmp_path / "parity.md", tmp_path / "rows.jsonl"
    arguments = ["--models=deit_tiny_*", "--small", f"--out={page}", f"--rows={rows}"]
    done = run_module(*arguments)
    assert done.returncode == 0, done.stderr
    assert "2 architectures: 2 compared and the same" in done.stdout
    kept = [json.loads(line) for line in rows.read_text().splitlines()]
    assert [row["architecture"] for row in kept] == [
        "deit_tiny_distilled_patch16_224",
        "deit_tiny_patch16_224",
    ]
    text = page.read_text()
    assert "python -m vit_tf.parity '--models=deit_tiny_*' --small" in text
    assert "| deit_tiny_patch16_224 | 32 | " in text
    for row in kept:
        worst = Row.from_json(row).worst
        assert worst["float32"].relative < 1e-5
        assert worst["float64"].relative < 1e-10
        assert worst["gradient"].relative < 1e-8


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "--all or --models, and --small or --full"),
        (["--all", "--small", "--full"], "--small or --full"),
        (["--all", "--models=deit*", "--small"], "--all or --models"),
        (["--models=resnet50", "--small"], "no architecture fits 'resnet50'"),
    ],
)
def test_flags_that_contradict_each_other_are_an_error(arguments, message):
    done = run_module(*arguments)
    assert done.returncode != 0
    assert message in done.stdout + done.stderr


def test_a_row_in_the_file_is_not_compared_again(tmp_path):
    rows = tmp_path / "rows.jsonl"
    compared = []

    def compare(config, *, memory):
        compared.append(config.architecture)
        return dataclasses.replace(ROW, configuration=table._key(config))

    def run(configure):
        return list(table.run([ROW.architecture], configure, compare, rows=rows))

    assert run(models.small_config) == run(models.small_config)
    assert len(compared) == 1
    run(table.full_config)  # of the same name, and another model
    assert len(compared) == 2
    assert len(rows.read_text().splitlines()) == 2


@pytest.mark.parametrize(
    ("changes", "memory", "again"),
    [
        ({"left_out": {"gradient": 16e9}}, 15e9, False),
        ({"left_out": {"gradient": 16e9}}, 16e9, True),
        ({"problems": ("its process was ended from outside",)}, 15e9, True),
        ({"notes": ("float32: 1 of 2 beyond 1e-05",)}, 15e9, False),
    ],
)
def test_a_row_is_compared_again_where_that_could_add_something(
    tmp_path, changes, memory, again
):
    rows = tmp_path / "rows.jsonl"
    config = models.small_config(ROW.architecture)
    whole = dataclasses.replace(ROW, configuration=table._key(config))
    part = dataclasses.replace(whole, **changes)
    rows.write_text(json.dumps(part.to_json()) + "\n")
    for _ in range(2):  # what was added to the file is what counts from then on
        [found] = table.run(
            [ROW.architecture], models.small_config, lambda config, memory: whole,
            memory=lambda: memory, rows=rows,
        )  # fmt: skip
        assert found == (whole if again else part)
    assert len(rows.read_text().splitlines()) == 1 + again


def test_what_is_the_same_once_shrunken_is_compared_once():
    names = ["deit_tiny_patch16_224", "deit_small_patch16_224"]
    compared = []

    def compare(config, *, memory):
        compared.append(config.architecture)
        return dataclasses.replace(
            ROW, architecture=config.architecture, configuration=table._key(config)
        )

    found = list(table.run(names, models.small_config, compare))
    assert [row.architecture for row in found] == names
    assert compared == names[:1]


def test_what_does_not_fit_in_memory_is_left_out_and_said():
    config = models.small_config("deit_tiny_patch16_224")
    parameters = table.compare(config, memory=0).parameters
    enough = table.bytes_needed(config, parameters)["float32"]
    row = table.compare(config, memory=enough)
    assert set(row.worst) == {"float32"}
    assert len(row.left_out) == 2
    page = table.document([row], "the command")
    assert "deit_tiny_patch16_224: not compared: float64 (would need" in page
    assert not row.problems


def test_what_is_beyond_its_tolerance_is_a_problem(monkeypatch):
    monkeypatch.setitem(table.proof.TOLERANCES, "float64", 1e-20)
    row = table.compare(models.small_config("deit_tiny_patch16_224"))
    [problem] = row.problems
    assert problem.startswith("float64: ")
    assert problem.endswith("beyond 1e-20")
    assert problem in table.text(row)
    assert problem in table.document([row], "the command")


@pytest.mark.parametrize(
    ("timms", "float64", "expected"),
    [(4e-5, 1e-13, True), (2e-5, 1e-13, False), (4e-5, 1e-9, False)],
)
def test_float32_is_too_narrow_where_timms_own_is_as_far(timms, float64, expected):
    relative = {"float32": 7e-5, "ours": 6e-5, "timm's": timms, "float64": float64}
    worst = {kind: LayerDiff("attn_drop", r, 1.0) for kind, r in relative.items()}
    assert table.cannot_hold(worst) == expected
    assert not table.cannot_hold({})
    note = "float32: 8 of 175 beyond 1e-05: attn_drop"
    row = dataclasses.replace(ROW, notes=(note,))
    assert row.whole
    assert Row.from_json(json.loads(json.dumps(row.to_json()))) == row
    assert table.text(row).endswith(note)
    assert f"* vit_tiny_patch16_224: {note}" in table.document([row], "a command")
