"""convert_all_models.py: from flags to bundles, a ledger and a table."""

import importlib.util
import json
import signal
import time

import forked
import pytest
from micro import MICRO

import convert_all_models
import vit_tf
from vit_tf import reference

# How images of four channels are stored is not known: a bundle has fewer graphs.
OVERRIDES = {f"model.{n}": v for n, v in {**MICRO, "in_chans": 4}.items()}


def manifest(path, names, **changes):
    rows = [
        {
            "name": name,
            "checkpoint": f"random:{seed}",
            "model": "deit_tiny_patch16_224",
            "overrides": OVERRIDES,
        }
        | changes.get(name, {})
        for seed, name in enumerate(names)
    ]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return f"--manifest={path}"


def ended(*arguments):
    """The code, or the message, with which the command ends."""
    with pytest.raises(SystemExit) as end:
        convert_all_models.run(["", *map(str, arguments)])
    return end.value.code


def test_a_manifest_becomes_bundles_and_a_table(tmp_path, capsys):
    bad = {"checkpoint": str(tmp_path / "none.pth")}
    rows = manifest(tmp_path / "m.jsonl", ["a", "b", "c"], b=bad)
    out = tmp_path / "out"
    assert ended(rows, f"--out={out}") == 1
    assert "b: CheckpointError" in capsys.readouterr().err
    assert not (out / "c").exists()
    table = json.loads((out / "summary.json").read_text())
    assert [row["state"] for row in table] == ["done", "failed", "not started"]
    assert ended(rows, f"--out={out}", "--keep_going") == 1
    assert "2 of 3 converted, 1 failed" in capsys.readouterr().out
    assert vit_tf.load(out / "c").count_params() > 0
    table = json.loads((out / "summary.json").read_text())
    assert [row["state"] for row in table] == ["done", "failed", "done"]
    assert "none.pth" in table[1]["error"]
    assert (out / "summary.md").read_text().count("\n") == 5
    assert (out / "summary.csv").read_text().count("\n") == 4

    rows = manifest(tmp_path / "m.jsonl", ["a", "b", "c"])
    convert_all_models.run(["", rows, f"--out={out}"])
    assert "3 of 3 converted, 0 failed" in capsys.readouterr().out
    states = [json.loads(line) for line in (out / "ledger.jsonl").open()]
    assert [entry["name"] for entry in states if entry["state"] == "done"] == [
        "a",
        "c",
        "b",
    ]


def test_a_killed_batch_goes_on(tmp_path):
    rows = manifest(tmp_path / "m.jsonl", ["a", "b", "c"])
    out = tmp_path / "out"
    script = convert_all_models.__file__
    process = forked.Popen(script, rows, f"--out={out}")
    while not (out / "a" / "saved_model.pb").exists() and process.poll() is None:
        time.sleep(0.01)
    process.send_signal(signal.SIGKILL)
    process.wait()
    convert_all_models.run(["", rows, f"--out={out}"])
    entries = [json.loads(line) for line in (out / "ledger.jsonl").open()]
    done = [entry["name"] for entry in entries if entry["state"] == "done"]
    assert done == ["a", "b", "c"]
    left = {path.name for path in out.iterdir()}
    tables = {f"summary.{suffix}" for suffix in ("md", "csv", "json")}
    assert left == {"a", "b", "c", ".working", "ledger.jsonl", *tables}


@pytest.fixture
def converted(monkeypatch):
    """The jobs that a command asks for, none of which is done."""
    asked = []

    def converted(jobs, directory):
        asked.extend(jobs)
        return []

    monkeypatch.setattr(convert_all_models, "_converted", converted)
    return asked


def test_models_are_chosen_by_patterns(converted, tmp_path):
    patterns = "--models=deit_tiny_*,cait_xxs24_224"
    assert ended(patterns, "--checkpoint=random:0", f"--out={tmp_path}") == 1
    assert [job.name for job in converted] == [
        "cait_xxs24_224",
        "deit_tiny_distilled_patch16_224",
        "deit_tiny_patch16_224",
    ]
    assert {job.checkpoint for job in converted} == {"random:0"}


def test_real_images_are_for_every_job(converted, tmp_path):
    arguments = ["--models=deit_tiny_*", "--checkpoint=random:0", f"--out={tmp_path}"]
    assert ended(*arguments, "--formats=litert_int8", "--representative=photos") == 1
    assert [job.overrides for job in converted] == [
        (("export.representative", "photos"),)
    ] * 2


def test_tags_are_chosen_by_patterns(converted, tmp_path):
    arguments = ["--models=vit_tiny_patch16_*", f"--out={tmp_path}"]
    assert ended(*arguments, "--tags=*.augreg_in21k") == 1
    tags = [
        tag
        for name in vit_tf.list_models("vit_tiny_patch16_*")
        for tag in reference.tags(name)
        if tag.endswith(".augreg_in21k")
    ]
    assert tags
    assert [job.model for job in converted] == tags
    assert {job.checkpoint for job in converted} == {""}


def test_a_plan_says_what_would_be_done_and_writes_nothing(tmp_path, capsys):
    rows = manifest(tmp_path / "m.jsonl", ["a", "b"])
    out = tmp_path / "out"
    convert_all_models.run(["", rows, f"--out={out}", "--plan"])
    assert "to do   2 of 2\n" in capsys.readouterr().out
    assert not out.exists()
    (out / "b").mkdir(parents=True)
    (out / "b" / "thesis.tex").write_text("three years")
    said = ended(rows, f"--out={out}", "--plan", "--engine=ray", "--workers=2")
    assert "holds b, which this batch did not write" in said
    assert "2 at once" in capsys.readouterr().out
    assert [path.name for path in out.iterdir()] == ["b"]


def test_ray_is_missing(tmp_path, monkeypatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    said = ended("--models=a", f"--out={tmp_path}", "--engine=ray")
    assert said.endswith("--engine=ray needs Ray: pip install 'vit_tf[ray]'")


def test_the_bar_counts_what_is_done_now(tmp_path, capsys):
    convert_all_models.run(
        ["", manifest(tmp_path / "m.jsonl", ["a"]), f"--out={tmp_path / 'out'}"]
    )
    bad = {"checkpoint": str(tmp_path / "none.pth")}
    rows = manifest(tmp_path / "m.jsonl", ["a", "b"], b=bad)
    capsys.readouterr()
    assert ended(rows, f"--out={tmp_path / 'out'}") == 1
    assert " 50%|" in capsys.readouterr().err.partition("\r")[2].partition("\r")[0]


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ([], "--out is missing: folder for the bundles"),
        (["--out=x"], "--models=PATTERNS or --manifest=FILE, one of them"),
        (["--out=x", "--models=a", "--manifest=b"], "one of them"),
        (["--out=x", "--manifest=b", "--tags=*"], "a manifest has its"),
        (
            ["--out=x", "--models=a", "--tags=*", "--checkpoint=random:0"],
            "--tags found",
        ),
        (["--out=x", "--models=resnet*"], "no model fits 'resnet*'"),
        (["--out=x", "--models=deit_*", "--tags=*.none"], "no model fits '*.none'"),
        (
            ["--out=x", "--models=deit_*", "--formats=pdf"],
            "--formats: pdf found; exp",
        ),
        (
            ["--out=x", "--models=deit_*", "--formats=litert_int8"],
            "litert_int8 needs real images",
        ),
        (["--out=x", "--manifest=none.csv"], "No such file or directory: none.csv"),
        (
            ["--out=x", "--models=a", "--workers=2", "--memory=1"],
            "--workers, --memory f",
        ),
        (
            [
                "--out=x",
                "--models=a",
                "--engine=ray",
                "--ray_address=a:1",
                "--memory=1",
            ],
            "--memory found; expected: none, the cluster",
        ),
        (["--out=x", "--models=a", "--engine=dask"], "value should be one of"),
        (["--out=x", "--models=deit_*", "more"], "'more' found; expected: flags only"),
    ],
)
def test_what_is_wrong_is_said_and_nothing_written(
    arguments, said, tmp_path, monkeypatch
):
    monkeypatch.chdir(tmp_path)
    message = ended(*arguments)
    assert message.startswith("convert_all_models.py: error: ")
    assert said in message
    assert not list(tmp_path.iterdir())
