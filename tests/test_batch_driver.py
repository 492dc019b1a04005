"""A batch from its jobs to its ledger, through failures, kills and full disks."""

import dataclasses
import errno
import functools
import json
import shutil

import pytest
from micro import MICRO

from vit_tf.batch import driver, ledger, serial, summary, work
from vit_tf.batch.attempt import Failure
from vit_tf.batch.driver import BatchError
from vit_tf.batch.jobs import Job
from vit_tf.batch.ledger import DONE, FAILED, STARTED, Entry
from vit_tf.checkpoints.errors import CheckpointError, DownloadError
from vit_tf.export import bundle

FACTS = {"architecture": "vit", "tensors": 1, "parity": {"layers": 1e-6}, "bytes": 9}
JOBS = [Job(name, "x") for name in ("a", "b/c", "d")]


@pytest.fixture
def batch(tmp_path):
    """Runs jobs with a stand-in for a conversion; what it was called with is kept."""

    class Batch:
        directory = tmp_path / "out"
        ledger_file = directory / "ledger.jsonl"

        def __init__(self):
            self.converted = []
            self.errors = {}

        def work(self, job):
            self.converted.append(job.name)
            if error := self.errors.get(job.name):
                raise error
            place = self.directory / job.name
            for file in ("saved_model.pb", bundle.CONFIG):
                (place / file).parent.mkdir(parents=True, exist_ok=True)
                (place / file).write_text(job.key)
            return FACTS

        def run(self, jobs=JOBS, **options):
            self.converted.clear()
            engine = functools.partial(serial.run, work=self.work, wait=lambda s: None)
            return run(jobs, self.directory, engine, **options)

    return Batch()


def run(jobs, directory, engine, **options):
    """Does what is missing of a batch; the last entry of each job."""
    with ledger.opened(directory / "ledger.jsonl") as book:
        missing = driver.missing(jobs, directory, book)
        driver.run(missing, directory, book, engine, **options)
        return [entry for job in jobs if (entry := book.last(job.name))]


def states(entries):
    return {entry.name: entry.state for entry in entries}


def test_what_is_done_is_not_done_again(batch):
    assert states(batch.run()) == dict.fromkeys(["a", "b/c", "d"], DONE)
    assert batch.converted == ["a", "b/c", "d"]
    seen = []
    assert states(batch.run(each=seen.append)) == dict.fromkeys(["a", "b/c", "d"], DONE)
    assert batch.converted == seen == []


def test_what_has_gone_is_done_again(batch):
    batch.run()
    shutil.rmtree(batch.directory / "b")
    assert states(batch.run())["b/c"] == DONE
    assert batch.converted == ["b/c"]


def test_a_failure_ends_a_batch_unless_it_is_to_go_on(batch):
    batch.errors["b/c"] = CheckpointError("no checkpoint")
    assert states(batch.run()) == {"a": DONE, "b/c": FAILED}
    found = batch.run(keep_going=True)
    assert states(found) == {"a": DONE, "b/c": FAILED, "d": DONE}
    assert batch.converted == ["b/c", "d"]  # what failed is tried again
    assert found[1].facts == {"error": "CheckpointError: no checkpoint"}
    batch.errors.clear()
    assert states(batch.run()) == dict.fromkeys(["a", "b/c", "d"], DONE)
    assert batch.converted == ["b/c"]


def test_no_room_ends_a_batch_and_it_goes_on_from_there(batch):
    batch.errors["b/c"] = OSError(errno.ENOSPC, "No space left on device", "out/b/c")
    said = "b/c: No space left on device: out/b/c; the same command goes on once there"
    with pytest.raises(BatchError, match=said):
        batch.run(keep_going=True)
    batch.errors.clear()
    assert set(states(batch.run()).values()) == {DONE}
    assert batch.converted == ["b/c", "d"]


def test_no_room_for_the_ledger_ends_a_batch_too(batch, monkeypatch):
    add = ledger.Ledger.add

    def full(self, entry):
        if (entry.name, entry.state) == ("b/c", DONE):
            raise OSError(errno.ENOSPC, "No space left on device", "out/ledger.jsonl")
        add(self, entry)

    monkeypatch.setattr(ledger.Ledger, "add", full)
    said = "^No space left on device: out/ledger.jsonl; the same command goes on once"
    with pytest.raises(BatchError, match=said):
        batch.run()
    monkeypatch.undo()
    assert set(states(batch.run()).values()) == {DONE}


def test_what_was_put_where_a_job_failed_is_not_touched(batch):
    batch.errors["b/c"] = CheckpointError("no checkpoint")
    batch.run()
    for file in ("saved_model.pb", bundle.CONFIG):
        (batch.directory / "b" / "c" / file).parent.mkdir(parents=True, exist_ok=True)
        (batch.directory / "b" / "c" / file).write_text("by hand")
    with pytest.raises(BatchError, match="holds b/c, which this batch did not"):
        batch.run(keep_going=True)
    assert (batch.directory / "b" / "c" / "saved_model.pb").read_text() == "by hand"


def test_what_took_the_place_of_a_bundle_is_not_touched(batch):
    batch.run()
    shutil.rmtree(batch.directory / "a")
    (batch.directory / "a").mkdir()
    (batch.directory / "a" / "thesis.tex").write_text("x")
    with pytest.raises(BatchError, match="holds a, which this batch did not"):
        batch.run()
    assert (batch.directory / "a" / "thesis.tex").is_file()


@pytest.mark.parametrize("name", ["a", "b/c"])
def test_what_is_not_the_batchs_own_is_not_touched(batch, name):
    place = batch.directory / name
    place.mkdir(parents=True)
    (place / "thesis.tex").write_text("x")
    with pytest.raises(BatchError, match=f"holds {name}, which this batch did not"):
        batch.run()
    assert (place / "thesis.tex").is_file()
    assert batch.converted == []


def test_a_bundle_of_another_job_of_that_name_is_not_replaced(batch):
    batch.run()
    changed = [JOBS[0], dataclasses.replace(JOBS[1], checkpoint="y"), JOBS[2]]
    with pytest.raises(BatchError, match="holds b/c of other jobs of that name"):
        batch.run(changed)
    assert batch.converted == []


def test_what_a_killed_process_left_is_removed(batch):
    left = batch.directory / "b" / ".c.partial-xyz"
    left.mkdir(parents=True)
    (left / "saved_model.pb").write_text("half")
    with ledger.opened(batch.ledger_file) as book:
        book.add(Entry("b/c", JOBS[1].key, STARTED))
    assert states(batch.run())["b/c"] == DONE
    assert not left.exists()


def test_a_download_is_tried_again_and_nothing_else(batch):
    batch.errors |= {"a": DownloadError("gone"), "b/c": ValueError("wrong")}
    engine = functools.partial(serial.run, work=batch.work, retries=2)
    waited = []
    found = list(engine(JOBS, wait=waited.append))
    assert batch.converted == ["a", "a", "a", "b/c", "d"]
    assert waited == [1, 2]
    assert [outcome.failure for outcome in found] == [
        Failure("DownloadError", "gone", transient=True),
        Failure("ValueError", "wrong"),
        None,
    ]


def test_a_job_that_takes_too_long_is_given_up():
    def work(job):
        while job.name == "a":
            pass
        return FACTS

    first, second = serial.run(JOBS[:2], work, timeout=0.05)
    assert str(first.failure) == "JobTimeoutError: not done within 0.05 s"
    assert second.failure is None


def test_a_whole_bundle_that_the_ledger_does_not_know_to_be_done_is_kept(tmp_path):
    """Killed between the two: the job does not run to its end twice."""
    small = {**MICRO, "in_chans": 4}
    overrides = tuple((f"model.{name}", value) for name, value in small.items())
    job = Job("a", "random:0", "deit_tiny_patch16_224", overrides=overrides)
    out, calls = tmp_path / "out", []

    def convert(job):
        calls.append(job.name)
        return work.convert(job, out)

    engine = functools.partial(serial.run, work=convert)
    [done] = run([job], out, engine)
    lines = (out / "ledger.jsonl").read_text().splitlines(keepends=True)
    assert [json.loads(line)["state"] for line in lines] == [STARTED, DONE]
    (out / "ledger.jsonl").write_text(lines[0])
    [kept] = run([job], out, engine)
    cost = ("seconds", "cpu_seconds", "peak_bytes")
    assert kept.facts == done.facts | dict.fromkeys(cost)
    assert calls == ["a"]

    (out / "ledger.jsonl").write_text(lines[0])
    (out / "a" / "saved_model.pb").write_bytes(b"damaged")
    [again] = run([job], out, engine)
    assert again.state == DONE
    assert calls == ["a", "a"]


ENTRIES = [
    Entry(
        "a",
        "k",
        DONE,
        {
            "architecture": "vit_tiny_patch16_224",
            "tensors": 152,
            "parameters": 5_717_416,
            "bytes": 23_000_000,
            "parity": {
                "layers": 2e-6,
                "SavedModel read back": 3e-7,
                "LiteRT int8 read back": 0.04,
            },
            "seconds": 4.25,
            "cpu_seconds": 5.0,
            "peak_bytes": None,
        },
    ),
    Entry("b", "k", FAILED, {"error": "ValueError: 1 | 2\nand more"}),
]


def test_the_table_in_markdown():
    assert summary.markdown(ENTRIES).splitlines()[2:] == [
        "| a | vit_tiny_patch16_224 | done | 2.0e-06 | 4.0e-02 | 152 | 5,717,416 | "
        "23,000,000 | 4.2 | 5.0 | - | - |",
        "| b | - | failed | - | - | - | - | - | - | - | - | "
        "ValueError: 1 \\| 2 and more |",
    ]


def test_the_table_in_csv_and_json():
    assert summary.as_csv(ENTRIES).splitlines()[1] == (
        "a,vit_tiny_patch16_224,done,2e-06,0.04,152,5717416,23000000,4.25,5.0,,"
    )
    first, second = json.loads(summary.as_json(ENTRIES))
    assert first["parity"] == 2e-6
    assert second["error"] == "ValueError: 1 | 2\nand more"
    assert second["architecture"] is None
