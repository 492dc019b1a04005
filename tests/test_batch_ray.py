"""Jobs in the processes of a Ray cluster."""

import functools
import os
import resource
import signal
import sys
import time

import pytest
import ray
from conftest import MICRO

from vit_tf.batch import driver, ledger, places, presence, ray_engine, serial, worker
from vit_tf.batch.jobs import Job
from vit_tf.checkpoints.errors import DownloadError

OVERRIDES = tuple((f"model.{name}", value) for name, value in MICRO.items())
GB = 1_000_000_000


@pytest.fixture(scope="session")
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


@pytest.fixture
def full_disk():
    """A conversion in a process that may write only so large a file."""

    def convert(job, directory, limit):
        before = resource.getrlimit(resource.RLIMIT_FSIZE)
        handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (limit, before[1]))
        try:
            return worker.convert(job, directory)
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, before)
            signal.signal(signal.SIGXFSZ, handler)

    return convert


def in_ray(jobs, convert):
    return ray_engine.run(jobs, convert, memory=lambda job: 0)


@pytest.mark.parametrize("engine", [serial.run, in_ray], ids=["serial", "ray"])
def test_a_full_disk_ends_a_batch_which_goes_on_with_room(
    engine, cluster, full_disk, tmp_path
):
    def run(limit):
        convert = functools.partial(full_disk, directory=tmp_path, limit=limit)
        with ledger.opened(tmp_path / "ledger.jsonl") as book:
            missing = driver.missing([job], tmp_path, book)
            driver.run(missing, tmp_path, book, lambda jobs: engine(jobs, convert))
            return book.last("micro").state

    job = Job("micro", "random:0", "deit_tiny_patch16_224", overrides=OVERRIDES)
    with pytest.raises(
        driver.BatchError, match=r"micro: File too large: .*/micro; the"
    ):
        run(20_000)
    assert os.listdir(tmp_path) == ["ledger.jsonl"]
    assert run(resource.RLIM_INFINITY) == "done"
    assert places.whole(tmp_path / "micro")
