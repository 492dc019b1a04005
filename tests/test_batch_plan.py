"""What a batch would do and need, before it does it."""

import dataclasses
import shutil
from collections import namedtuple

import pytest
from micro import MICRO

from vit_tf.batch import estimate, plan
from vit_tf.batch.jobs import Job
from vit_tf.batch.ledger import DONE, FAILED, STARTED, Entry
from vit_tf.export import bundle

OVERRIDES = tuple((f"model.{name}", value) for name, value in MICRO.items())
MICRO_JOB = Job("a", "random:0", "deit_tiny_patch16_224", overrides=OVERRIDES)
MICRO_PARAMETERS = 33_271
FILE_SIZE = 3_000_000


@pytest.fixture
def file(tmp_path):
    path = tmp_path / "model.pth"
    path.write_bytes(bytes(FILE_SIZE))
    return path


def test_parameters_are_those_of_the_model_that_is_named():
    assert estimate.parameters(MICRO_JOB) == MICRO_PARAMETERS
    assert estimate.parameters(Job("a", "hf-hub:org/name")) is None
    wrong = dataclasses.replace(MICRO_JOB, overrides=(("model.depth", "x"),))
    assert estimate.parameters(wrong) is None
    assert estimate.parameters(dataclasses.replace(MICRO_JOB, model="no")) is None


def test_a_model_of_timms_is_known_by_its_address_on_the_hub():
    number = estimate.parameters(Job("a", model="deit_tiny_patch16_224"))
    assert number == 5_717_416
    address = "hf-hub:timm/deit_tiny_patch16_224.fb_in1k@main"
    assert estimate.parameters(Job("a", address)) == number
    assert estimate.parameters(Job("a", "hf-hub:timm/resnet50.a1_in1k")) is None


def test_weights_are_those_of_the_file_or_of_the_model(file, tmp_path):
    assert estimate.weights(MICRO_JOB) == 4 * MICRO_PARAMETERS
    assert estimate.weights(Job("a", str(file))) == FILE_SIZE
    assert estimate.weights(Job("a", str(tmp_path))) == FILE_SIZE
    half = dataclasses.replace(MICRO_JOB, checkpoint=str(tmp_path / "none.pth"))
    assert estimate.weights(half) == 4 * MICRO_PARAMETERS
    assert estimate.weights(Job("a", str(tmp_path / "none.pth"))) == 0
    unknown = Job("a", "https://example.org/model.pth")
    assert estimate.weights(unknown) == estimate.UNKNOWN_WEIGHTS


def test_memory_and_disk_grow_with_the_weights(file):
    job = Job("a", str(file), formats=("saved_model", "keras"))
    assert estimate.memory(job) == 1_500_000_000 + 3.5 * FILE_SIZE
    assert estimate.disk(job) == 2 * (FILE_SIZE + 4_000_000)
    assert estimate.disk(Job("a", str(file), formats=("keras",))) == estimate.disk(job)
    litert = Job("a", str(file), formats=("litert_float16", "litert_int8"))
    assert estimate.disk(litert) == 4 * (FILE_SIZE + 4_000_000)


def test_memory_grows_with_the_tokens():
    small, large = (
        Job("a", "random:0", f"vit_base_patch{patch}_224") for patch in (16, 8)
    )
    assert estimate.memory(large) > estimate.memory(small) + 1_500_000_000


def test_every_job_has_a_row_that_says_why(tmp_path, file):
    jobs = [Job(name, str(file)) for name in ("a", "b", "c", "d", "e", "f")]
    states = {"a": DONE, "b": DONE, "c": FAILED, "d": STARTED, "e": DONE}
    entries = {
        job.name: Entry(job.name, job.key, states[job.name], {"error": "wrong | bad"})
        for job in jobs
        if job.name in states
    }
    entries["e"] = dataclasses.replace(entries["e"], key="another")
    for name in ("saved_model.pb", bundle.CONFIG):
        (tmp_path / "a" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "a" / name).touch()
    found = plan.plan(jobs, tmp_path, entries.get, workers=2)
    assert [(row.state, row.why) for row in found.rows] == [
        ("done", "its bundle is there"),
        ("to do", "its bundle has gone"),
        ("to do", "failed: wrong | bad"),
        ("to do", "was stopped"),
        ("to do", "another job had this name"),
        ("to do", "new"),
    ]
    assert found.problems == ()
    assert str(found).splitlines()[4] == (
        "| c | to do | failed: wrong \\| bad | - | 3 | 7 | 1,510 |"
    )
    assert str(found).splitlines()[-1] == (
        "memory  3.0 GB: 2 at once, the largest with 1.5 GB"
    )


def test_what_is_in_the_way_is_named(tmp_path, file, monkeypatch):
    (tmp_path / "out" / "a").mkdir(parents=True)
    usage = namedtuple("usage", "free")(5_000_000)
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage)
    jobs = [Job("a", str(file))]
    first, second = plan.plan(jobs, tmp_path / "out", {}.get, workers=1).problems
    assert "holds a, which this batch did not write" in first
    assert second.endswith("0.01 GB are free, 0.01 GB needed")
