"""Jobs in the processes of a Ray cluster."""

import functools
import json
import os
import signal
import subprocess
import sys
import time
from collections import Counter

import pytest
import ray
import safetensors.numpy
from micro import MICRO, micro_config, random_tensors
from test_convert_all_models import ended, manifest

import convert_all_models
from vit_tf.batch import ledger, places, presence, ray_engine
from vit_tf.batch.attempt import Outcome
from vit_tf.batch.jobs import Job
from vit_tf.checkpoints.errors import DownloadError
from vit_tf.export import bundle

MODEL = "deit_tiny_patch16_224"
SIZE = "600k"  # of a disk with room for one bundle
GB = 1_000_000_000


@pytest.fixture(scope="module")
def cluster():
    """One for all tests, with two cores and 1 GB."""
    module = sys.modules[__name__]
    ray.cloudpickle.register_pickle_by_value(module)  # workers cannot import it
    with ray_engine._connected("", workers=2, total_memory=GB):
        yield
    ray.cloudpickle.unregister_pickle_by_value(module)


class TwoArgumentsError(Exception):
    """One that pickle takes apart, and cannot put together again."""

    def __init__(self, name, value):
        super().__init__(f"{name} is {value}")


def work(job, folder, locked=False):
    """What a job's name says; each call leaves a file."""
    if locked:
        with presence.working(folder):
            return work(job, folder)
    kind = job.name.partition("-")[0]
    calls = len(list(folder.glob(f"{job.name}.*")))
    (folder / f"{job.name}.{calls}").touch()
    if kind == "raises":
        raise TwoArgumentsError("depth", 3)
    if kind == "away":
        raise DownloadError("no answer")
    if kind == "dies" or (kind == "dies_once" and not calls):
        os.kill(os.getpid(), signal.SIGKILL)
    if kind == "naps":
        time.sleep(0.3)
    if kind == "sleeps":
        time.sleep(60)
    if kind == "hangs":  # as compiled code does
        signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGALRM])
        time.sleep(60)
    if kind in ("eats", "eats_much"):
        eaten = [b"x" * 10_000_000 for _ in range(30 if kind == "eats" else 150)]
        time.sleep(0.5)
        del eaten
    return {"calls": calls + 1, "process": os.getpid()}


@pytest.fixture
def outcomes(cluster, tmp_path):
    """Does jobs of these names; name -> facts or what was wrong, and all calls."""

    def outcomes(*names, memory=GB // 5, **options):
        found = ray_engine.run(
            [Job(name) for name in names],
            functools.partial(work, folder=tmp_path),
            memory=lambda job: memory,
            **options,
        )
        return {o.job.name: o.facts or str(o.failure) for o in found}

    return outcomes


def calls(folder, name):
    return len(list(folder.glob(f"{name}.*")))


def test_jobs_are_done(outcomes):
    found = outcomes(*(f"job-{i}" for i in range(6)), workers=2)
    assert sorted(found) == [f"job-{i}" for i in range(6)]
    assert {facts["calls"] for facts in found.values()} == {1}
    assert len({facts["process"] for facts in found.values()}) <= 2


def test_what_is_raised_comes_back_whatever_it_is(outcomes):
    assert outcomes("raises")["raises"] == "TwoArgumentsError: depth is 3"


def test_a_download_is_tried_again(outcomes, tmp_path):
    assert outcomes("away", retries=1)["away"] == "DownloadError: no answer"
    assert calls(tmp_path, "away") == 2


def test_a_job_is_tried_again_whose_process_died(outcomes, tmp_path):
    found = outcomes("dies_once", "dies", "job")
    assert found["dies_once"]["calls"] == 2
    assert found["dies"].startswith("WorkerCrashedError: its process died 3 times; the")
    assert calls(tmp_path, "dies") == 1 + ray_engine.CRASHES
    assert found["job"]["calls"] == 1


def test_what_was_done_before_its_process_died_is_not_done_again(outcomes, tmp_path):
    found = outcomes("dies", recover=lambda job: {"recovered": job.name})
    assert found["dies"] == {"recovered": "dies"}
    assert calls(tmp_path, "dies") == 1


def test_a_job_that_takes_too_long_is_ended(outcomes, tmp_path):
    found = outcomes("sleeps", "hangs", "job", timeout=1, grace=1)
    assert found["sleeps"] == "JobTimeoutError: not done within 1 s"
    assert found["hangs"] == (
        "JobTimeoutError: not done within 1 s, nor stopped; process ended"
    )
    assert found["job"]["calls"] == 1
    assert calls(tmp_path, "hangs") == 1


def test_a_job_that_needs_more_memory_gets_more_up_to_all_there_is(outcomes, tmp_path):
    found = outcomes("eats", "eats_much", "job", memory=GB // 5)
    assert found["eats"]["calls"] == 2
    assert found["eats_much"].startswith("JobMemoryError: more than 1.0 GB of memory")


def test_what_is_on_its_way_is_ended_with_the_batch(cluster, tmp_path):
    found = ray_engine.run(
        [Job("job"), Job("sleeps")],
        functools.partial(work, folder=tmp_path, locked=True),
        memory=lambda job: GB // 5,
    )
    assert next(found).job.name == "job"
    while not calls(tmp_path, "sleeps"):
        time.sleep(0.01)
    found.close()
    assert presence.wait_alone(tmp_path, 1)


def test_no_job_with_much_memory_is_overtaken_for_ever(outcomes, tmp_path):
    """It needs all there is, and others end at different times."""
    names = [f"naps-{i}" for i in range(8)]
    found = ray_engine.run(
        [Job(name) for name in (*names[:2], "job", *names[2:])],
        functools.partial(work, folder=tmp_path),
        memory=lambda job: GB if job.name == "job" else GB // 5,
        workers=3,
    )
    order = [outcome.job.name for outcome in found]
    assert order.index("job") <= 4


def test_a_process_is_replaced_after_so_many_jobs(outcomes):
    names = [f"job-{i}" for i in range(ray_engine.WORKER_CALLS + 1)]
    found = outcomes(*names, workers=1).values()
    counts = Counter(facts["process"] for facts in found)
    assert max(counts.values()) <= ray_engine.WORKER_CALLS
    assert len(counts) > 1


def test_a_job_is_tried_again_whose_process_ray_ended(outcomes, tmp_path, monkeypatch):
    """As it does on a machine that is short of memory."""
    get = ray.get

    def ended(reference):
        news = get(reference)
        if isinstance(news, Outcome):
            raise ray.exceptions.OutOfMemoryError("the machine was short of memory")
        return news

    monkeypatch.setattr(ray, "get", ended)
    said = "OutOfMemoryError: its process was ended, for want of memory, 5 times; the "
    assert outcomes("job")["job"].startswith(said)
    assert calls(tmp_path, "job") == 1 + ray_engine.KILLS


@pytest.fixture
def disk(tmp_path):
    """A small file system of its own."""
    place = tmp_path / "disk"
    place.mkdir()
    options = ["-t", "tmpfs", "-o", f"size={SIZE}", "tmpfs", str(place)]
    done = subprocess.run(["mount", *options], capture_output=True, text=True)
    if done.returncode:
        pytest.skip(f"no file system can be mounted here: {done.stderr.strip()}")
    yield place
    subprocess.run(["umount", "--lazy", str(place)], check=True)


ENGINES = {"serial": [], "ray": ["--engine=ray", "--workers=1"]}


@pytest.mark.parametrize("engine", ENGINES)
def test_a_full_disk_ends_a_batch_which_goes_on_with_room(
    engine, cluster, disk, tmp_path, capsys
):
    """There is room for one of two bundles."""
    out, rows = disk / "out", manifest(tmp_path / "m.jsonl", ["first", "second"])
    command = [rows, f"--out={out}", *ENGINES[engine]]
    assert ended(*command) == (
        f"convert_all_models.py: error: second: No space left on device: "
        f"{out / 'second'}; the same command goes on once there is room"
    )
    assert places.whole(out / "first")
    tables = {f"summary.{suffix}" for suffix in ("csv", "json", "md")}
    batchs = {".working", "ledger.jsonl", *tables}
    assert set(os.listdir(out)) == {"first", *batchs}
    states = [row["state"] for row in json.loads((out / "summary.json").read_text())]
    assert states == ["done", "started"]

    subprocess.run(["mount", "-o", "remount,size=8m", str(disk)], check=True)
    convert_all_models.run(["", *command])
    assert "2 of 2 converted, 0 failed" in capsys.readouterr().out
    assert places.whole(out / "second")
    assert set(os.listdir(out)) == {"first", "second", *batchs}
    entries = ledger.read(out / "ledger.jsonl")
    assert {entry.state for entry in entries.values()} == {"done"}


def test_a_cluster_by_its_address_finds_what_lies_beside_the_command(cluster, tmp_path):
    """Its processes began elsewhere, and it stays when the batch has ended."""
    safetensors.numpy.save_file(
        random_tensors(micro_config(in_chans=4)), tmp_path / "a.safetensors"
    )
    row = {"name": "a", "checkpoint": "a.safetensors", "model": MODEL}
    row["overrides"] = {"model.num_heads": MICRO["num_heads"]}
    (tmp_path / "manifest.jsonl").write_text(json.dumps(row))
    command = [
        sys.executable, convert_all_models.__file__, "--manifest=manifest.jsonl",
        "--out=out", "--engine=ray", "--workers=1",
        f"--ray_address={ray.get_runtime_context().gcs_address}",
    ]  # fmt: skip
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    proven = json.loads((tmp_path / "out/a" / bundle.PARITY).read_text())
    assert proven["source"]["uri"] == str(tmp_path / "a.safetensors")
    assert ray.cluster_resources()["CPU"] == 2
