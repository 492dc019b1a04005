"""Jobs in the processes of a Ray cluster, as many at once as there is memory for.

Ray gives each job a process and the memory that it declares, and tells of processes
that ended. What is tried again, and how often, is decided here: Ray's own retries do
not tell a job that kills its process from one that was killed.
"""

import dataclasses
import os
import socket
import threading
import time
from collections.abc import Callable, Generator, Iterable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Any

import ray

from vit_tf.batch.attempt import Failure, Outcome, Work, attempt
from vit_tf.batch.jobs import Job
from vit_tf.batch.limits import JobTimeoutError

CRASHES = 2  # how often a job is tried again whose process died
KILLS = 4  # and whose process Ray ended, on a machine that was short of memory
GRACE = 30.0  # seconds after its deadline in which a job may end by itself
WORKER_CALLS = 32  # jobs that a process does before another takes its place
OBJECT_STORE = 100_000_000  # bytes: only jobs and facts go from process to process
_CANCELLING = 30.0  # seconds for processes to end that are no longer wanted
Around = Callable[[], AbstractContextManager]


def run(
    jobs: Iterable[Job],
    work: Work,
    *,
    memory: Callable[[Job], int],
    around: Around = nullcontext,
    recover: Callable[[Job], dict[str, Any] | None] = lambda job: None,
    workers: int = 0,
    address: str = "",
    total_memory: int = 0,
    retries: int = 0,
    timeout: float = 0,
    grace: float = GRACE,
) -> Generator[Outcome]:
    """Does jobs, and yields their outcomes in the order in which they end.

    Where this process is connected to Ray already, that cluster is used. Else it is
    connected to one, or starts one, which ends with the generator.

    Args:
        jobs: What to do; taken one by one, as processes are free for them.
        work: What does a job. It must be importable where the cluster's processes are.
        memory: How many bytes a job needs. One that takes more is ended, and tried
            again with twice as much, up to all that one machine of the cluster has.
        around: Entered in a job's process before its time begins, and left behind it.
        recover: Called where a job's process is no more: what is known of the job if
            it was done; else it removes what is left.
        workers: How many jobs are on their way at once; 0 for one per core.
        address: The cluster's; "" to start one on this machine.
        total_memory: Bytes that all jobs may take together on this machine; 0 for what
            Ray finds. For a cluster that is started only.
        retries: How often a job is tried again whose download failed, after 1, 2, 4 ...
            seconds.
        timeout: Seconds that an attempt may take; 0 for any number.
        grace: Seconds after which the process is ended of a job that does not end then.
    """
    with _connected(address, workers, total_memory):
        room = max(int(node["Resources"].get("memory", 0)) for node in _nodes())
        flight = _Flight(work, around, memory, recover, room, retries, timeout, grace)
        yield from flight.outcomes(jobs, workers or int(ray.cluster_resources()["CPU"]))


@contextmanager
def _connected(address: str, workers: int, total_memory: int) -> Iterator[None]:
    if ray.is_initialized():
        yield
        return
    cores = os.cpu_count() or 1
    options: dict[str, Any] = {"address": address}
    threads = 1  # a task declares one core of a cluster
    if not address:
        workers = workers or cores
        threads = max(1, cores // workers)
        options = {
            "address": "local",
            "num_cpus": workers,
            "object_store_memory": OBJECT_STORE,
            "include_dashboard": False,
            # Ray's own is 15: a deadline would pass while others have the cores.
            "_system_config": {"worker_niceness": 0},
        }
        if total_memory:
            options["_memory"] = total_memory
    names = ("OMP_NUM_THREADS", "TF_NUM_INTRAOP_THREADS", "TF_NUM_INTEROP_THREADS")
    variables = dict.fromkeys(names, str(threads))
    ray.init(
        **options,
        runtime_env={"env_vars": variables},
        log_to_driver=False,
        logging_level="error",
    )
    try:
        yield
    finally:
        ray.shutdown()


def _nodes() -> list[dict[str, Any]]:
    return [node for node in ray.nodes() if node["Alive"]]


@dataclasses.dataclass(frozen=True)
class _Attempt:
    """An attempt at a job, and how many there were before, by what ended them."""

    job: Job
    memory: int
    downloads: int = 0
    crashes: int = 0
    kills: int = 0


@dataclasses.dataclass(eq=False)
class _Task:
    """An attempt that is on its way: a stream of where it runs, and of its outcome."""

    attempt: _Attempt
    stream: ray.ObjectRefGenerator
    place: str = ""  # where it runs; "" while it waits
    due: float = float("inf")  # when it should have ended
    overtaken: bool = False  # whether it waits, and one that was given later runs
    cancelled: bool = False


class _Flight:
    """What is on its way at one time, and what is made of how it ends."""

    def __init__(
        self,
        work: Work,
        around: Around,
        memory: Callable[[Job], int],
        recover: Callable[[Job], dict[str, Any] | None],
        room: int,
        retries: int,
        timeout: float,
        grace: float,
    ):
        self._work, self._around = ray.put(work), ray.put(around)
        self._memory, self._recover, self._room = memory, recover, room
        self._retries, self._timeout, self._grace = retries, timeout, grace
        self._tasks: list[_Task] = []  # in the order in which they were given

    def outcomes(self, jobs: Iterable[Job], workers: int) -> Generator[Outcome]:
        """The outcomes of jobs, of which at most so many are on their way."""
        waiting = iter(jobs)
        more = True
        try:
            while more or self._tasks:
                while more and self._has_place(workers):
                    if more := (job := next(waiting, None)) is not None:
                        self._give(_Attempt(job, min(self._memory(job), self._room)))
                for task in self._ready():
                    if outcome := self._news(task):
                        yield outcome
                self._cancel_overdue()
        finally:
            self._cancel_all()

    def _has_place(self, workers: int) -> bool:
        """Whether one more may be given.

        Where a job waits for much memory and others overtake it, none is, so that it
        gets what they give back.
        """
        overtaken = any(task.overtaken for task in self._tasks)
        return len(self._tasks) < workers and not overtaken

    def _give(self, attempt: _Attempt, wait: float = 0) -> None:
        task = _work_on.options(memory=attempt.memory)
        stream = task.remote(
            attempt.job, self._work, self._around, attempt.memory, self._timeout, wait
        )
        self._tasks.append(_Task(attempt, stream))

    def _ready(self) -> list[_Task]:
        """Tasks of which there is news: waits for some, or for the next deadline."""
        if not self._tasks:
            return []
        by_stream = {task.stream: task for task in self._tasks}
        due = min(task.due for task in self._tasks)
        wait = None if due == float("inf") else max(0.0, due - time.monotonic())
        ready, _ = ray.wait([*by_stream], timeout=wait)
        return [by_stream[stream] for stream in ready]

    def _news(self, task: _Task) -> Outcome | None:
        """What became of a task, if it has ended for good."""
        try:
            news = ray.get(next(task.stream))
        except ray.exceptions.RayTaskError as error:  # before the work, or behind it
            news = Outcome(task.attempt.job, {}, Failure.of(error.cause or error))
        except ray.exceptions.RayError as error:  # its process is no more, or its node
            return self._lost(task, error)
        if isinstance(news, str):
            self._started(task, news)
            return None
        self._tasks.remove(task)
        if news.failure and news.failure.interrupted:
            ray.cancel(task.stream, force=True)
        return self._ended(task.attempt, news)

    def _started(self, task: _Task, place: str) -> None:
        """Notes where it runs: at first as it begins, then as its time does."""
        task.place = place
        if self._timeout:
            task.due = time.monotonic() + self._timeout + self._grace
        for earlier in self._tasks[: self._tasks.index(task)]:
            earlier.overtaken = not earlier.place
        task.overtaken = False

    def _ended(self, attempt: _Attempt, outcome: Outcome) -> Outcome | None:
        """The outcome of an attempt, if there is no other."""
        failure = outcome.failure
        if failure and failure.transient and attempt.downloads < self._retries:
            again = dataclasses.replace(attempt, downloads=attempt.downloads + 1)
            self._give(again, wait=2**attempt.downloads)
        elif failure and failure.for_memory and attempt.memory < self._room:
            memory = min(2 * attempt.memory, self._room)
            self._give(dataclasses.replace(attempt, memory=memory))
        else:
            return outcome
        return None

    def _lost(self, task: _Task, error: Exception) -> Outcome | None:
        """The outcome of an attempt whose process is no more, if there is no other."""
        self._tasks.remove(task)
        job = task.attempt.job
        if facts := self._recover(job):
            return Outcome(job, facts)
        if task.cancelled:
            text = f"not done within {self._timeout:g} s, nor stopped; process ended"
            return Outcome(job, {}, Failure.of(JobTimeoutError(text)))
        killed = isinstance(error, ray.exceptions.OutOfMemoryError)
        count, limit = ("kills", KILLS) if killed else ("crashes", CRASHES)
        times = getattr(task.attempt, count) + 1
        if times <= limit:
            self._give(dataclasses.replace(task.attempt, **{count: times}))
            return None
        how = "was ended, for want of memory," if killed else "died"
        text = f"its process {how} {times} times"
        text += f"; the last was on {task.place}" if task.place else ""
        return Outcome(job, {}, dataclasses.replace(Failure.of(error), text=text))

    def _cancel_overdue(self) -> None:
        for task in self._tasks:
            if task.due < time.monotonic():
                ray.cancel(task.stream, force=True)
                task.due, task.cancelled = float("inf"), True

    def _cancel_all(self) -> None:
        streams = [task.stream for task in self._tasks]
        for stream in streams:
            ray.cancel(stream, force=True)
        if streams:
            ray.wait(streams, num_returns=len(streams), timeout=_CANCELLING)


@ray.remote(num_returns="streaming", num_cpus=1, max_retries=0, max_calls=WORKER_CALLS)
def _work_on(
    job: Job, work: Work, around: Around, memory: int, timeout: float, wait: float
) -> Iterator[str | Outcome]:
    """Where a job runs, as soon as it does, and when its time begins; its outcome."""
    time.sleep(wait)
    place = f"{socket.gethostname()}, process {os.getpid()}"
    yield place
    with around():
        yield place
        outcome = attempt(job, work, timeout=timeout, memory=memory)
    yield outcome
    if outcome.failure and outcome.failure.interrupted:
        threading.Event().wait()  # for its end: it may hold memory, and locks
