"""Which conversions a batch is made of."""

import dataclasses
import json
from pathlib import Path

import pytest

from vit_tf.batch import jobs
from vit_tf.batch.jobs import REPRESENTATIVE, Job, ManifestError

NAMES = ["cait_xxs24_224", "deit_small_patch16_224", "deit_tiny_patch16_224"]


def test_patterns_choose_models_each_once_and_in_order():
    found = jobs.of_models(["deit_tiny_*", "*_224"], NAMES, checkpoint="random:0")
    assert [job.name for job in found] == NAMES
    assert [job.model for job in found] == NAMES
    assert {job.checkpoint for job in found} == {"random:0"}


def test_every_pattern_that_fits_nothing_is_named():
    with pytest.raises(ManifestError, match=r"no model fits 'resnet\*', 'vgg'; exp"):
        jobs.of_models(["deit_*", "resnet*", "vgg"], NAMES)


CSV = """\
name,checkpoint,model,overrides
a/first,one.pth,deit_tiny_patch16_224,"{""model.num_classes"": 5}"
second,hf-hub:timm/x,,
"""
JSONL = """\
{"name": "a/first", "checkpoint": "one.pth", "model": "deit_tiny_patch16_224", \
"overrides": {"model.num_classes": 5}}

{"name": "second", "checkpoint": "hf-hub:timm/x"}
"""


@pytest.mark.parametrize(("name", "text"), [("m.csv", CSV), ("m.jsonl", JSONL)])
def test_a_manifest_is_read(tmp_path, name, text):
    path = tmp_path / name
    path.write_text(text)
    assert jobs.of_manifest(path, ["saved_model", "keras"]) == [
        Job(
            "a/first",
            "one.pth",
            "deit_tiny_patch16_224",
            overrides=(("model.num_classes", 5),),
            formats=("saved_model", "keras"),
        ),
        Job("second", "hf-hub:timm/x", formats=("saved_model", "keras")),
    ]


def test_a_spreadsheets_mark_at_the_beginning_is_no_part_of_a_column(tmp_path):
    path = tmp_path / "m.csv"
    path.write_text(CSV, encoding="utf-8-sig")
    assert len(jobs.of_manifest(path)) == 2


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ('{"checkpoint": "x"}', "line 1: name is missing"),
        ('{"name": "a"}', "line 1: checkpoint is missing"),
        ('{"name": "a", "checkpoint": "x", "seed": 1}', "no column 'seed' is known"),
        ('{"name": "a", "checkpoint": 7}', "checkpoint=7 found, a text expected"),
        ('{"name": "../a", "checkpoint": "x"}', "name='../a' found, one that can be"),
        ('{"name": "/a", "checkpoint": "x"}', "name='/a' found, one that can be"),
        ('{"name": ".a", "checkpoint": "x"}', "name='.a' found, one that can be"),
        ('{"name": "summary.md", "checkpoint": "x"}', "which is a file of the batch"),
        (
            '{"name": "a", "checkpoint": "x", "overrides": [1]}',
            r"overrides=\[1\] found, a JSON object expected",
        ),
        ("[1]", r"line 1: \[1\] found; expected: an object with name, checkpoint"),
        ('{"name": ', "line 1: '{\"name\":' is no JSON: .*; expected: an object"),
        ("", "no row found"),
    ],
)
def test_what_is_wrong_with_a_row_is_said(tmp_path, text, said):
    path = tmp_path / "m.jsonl"
    path.write_text(text)
    with pytest.raises(ManifestError, match=said) as raised:
        jobs.of_manifest(path)
    assert str(raised.value).startswith(f"{path}: ")


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("name,checkpoint\na,b,c\n", "line 2: no column 'more values than columns'"),
        ("title,checkpoint\na,b\n", "line 2: no column 'title' is known, name is miss"),
        ("name,checkpoint,overrides\na,b,{\n", "line 2: overrides=\"'{' is no JSON"),
    ],
)
def test_what_is_wrong_with_a_row_of_csv_is_said(tmp_path, text, said):
    path = tmp_path / "m.csv"
    path.write_text(text)
    with pytest.raises(ManifestError, match=said):
        jobs.of_manifest(path)


def written(path, names):
    rows = [{"name": name, "checkpoint": "x"} for name in names]
    path.write_text("\n".join(map(json.dumps, rows)))
    return path


def test_elsewhere_local_paths_begin_where_the_command_was_given():
    there = Path("/there")
    overrides = (("export.representative", "photos"), ("model.depth", 2))
    job = jobs.located(Job("a", "mine.pth", overrides=overrides), there)
    assert job.checkpoint == "/there/mine.pth"
    assert dict(job.overrides) == dict(overrides) | {REPRESENTATIVE: "/there/photos"}
    for given in ("", "/a/b.pth", "random:0", "hf-hub:org/name", "gs://bucket/a.npz"):
        assert jobs.located(Job("a", given), there).checkpoint == given


def test_the_order_of_formats_does_not_make_another_job():
    one, other = (Job("a", formats=f) for f in (("keras", "timm"), ("timm", "keras")))
    assert one.key == other.key != Job("a").key


def test_names_must_differ(tmp_path):
    path = written(tmp_path / "m.jsonl", ["a", "b", "a"])
    said = "line 1: name='a' is there 2 times; line 3: name='a' is there 2 times"
    with pytest.raises(ManifestError, match=said):
        jobs.of_manifest(path)


def test_no_bundle_is_inside_of_another(tmp_path):
    path = written(tmp_path / "m.jsonl", ["a", "a/b", "ab"])
    with pytest.raises(ManifestError, match="line 2: 'a/b' would be inside the bundle"):
        jobs.of_manifest(path)


def test_many_problems_are_counted(tmp_path):
    path = written(tmp_path / "m.jsonl", [".hidden"] * 12)
    with pytest.raises(ManifestError, match=r"; and 2 more$"):
        jobs.of_manifest(path)


@pytest.mark.parametrize("name", ["m.txt", "m"])
def test_another_kind_of_file_is_refused(tmp_path, name):
    with pytest.raises(ManifestError, match=r"ending in \.csv or \.jsonl"):
        jobs.of_manifest(tmp_path / name)


@pytest.mark.parametrize("name", ["m.csv", "m.jsonl"])
def test_what_is_no_text_is_refused(tmp_path, name):
    (tmp_path / name).write_bytes(b"\xff\xfe\x00")
    with pytest.raises(ManifestError, match="is no text in UTF-8"):
        jobs.of_manifest(tmp_path / name)


def test_a_key_is_of_all_that_the_result_depends_on():
    job = Job("a", "x", overrides=(("model.depth", 2),))
    assert job.key == dataclasses.replace(job).key
    others = [
        dataclasses.replace(job, **change)
        for change in (
            {"name": "b"},
            {"checkpoint": "y"},
            {"model": "z"},
            {"overrides": (("model.depth", 3),)},
            {"formats": ("saved_model", "keras")},
        )
    ]
    assert len({job.key, *(other.key for other in others)}) == 6
