"""One job after the other, in this process: imports and tracing are paid once."""

import dataclasses
import gc
import signal
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any

import keras

from vit_tf.batch.jobs import Job
from vit_tf.checkpoints.errors import DownloadError

Work = Callable[[Job], dict[str, Any]]


class JobTimeoutError(Exception):
    """A job took longer than it may."""


@dataclasses.dataclass(frozen=True)
class Outcome:
    """How a job ended: with what is known of its bundle, or with an error.

    Attributes:
        job: The job.
        facts: As `vit_tf.batch.work.convert` gives them; empty after an error.
        error: What was raised last; None where the job is done.
    """

    job: Job
    facts: dict[str, Any]
    error: Exception | None = None


def run(
    jobs: Iterable[Job],
    work: Work,
    *,
    retries: int = 0,
    timeout: float = 0,
    wait: Callable[[float], None] = time.sleep,
) -> Iterator[Outcome]:
    """Does jobs, and yields each one's outcome before the next begins.

    Args:
        jobs: What to do; taken one by one.
        work: What does a job.
        retries: How often a job is tried again whose download failed, after 1, 2, 4 ...
            seconds. What else fails would fail again.
        timeout: Seconds that a job may take; 0 for any number. Compiled code is not
            interrupted before it returns to Python.
        wait: Waits for seconds.
    """
    for job in jobs:
        yield _attempted(job, work, retries, timeout, wait)
        keras.backend.clear_session()
        gc.collect()


def _attempted(
    job: Job, work: Work, retries: int, timeout: float, wait: Callable[[float], None]
) -> Outcome:
    for attempt in range(retries + 1):
        try:
            with _deadline(timeout):
                return Outcome(job, work(job))
        except DownloadError as error:
            failed = Outcome(job, {}, error)
            if attempt < retries:
                wait(2**attempt)
        except Exception as error:  # noqa: BLE001 - it is the job's outcome
            return Outcome(job, {}, error)
    return failed


@contextmanager
def _deadline(seconds: float) -> Iterator[None]:
    """Within it, `JobTimeoutError` is raised once so many seconds have passed."""

    def expired(number: int, frame: FrameType | None) -> None:
        raise JobTimeoutError(f"not done within {seconds:g} s")

    if not seconds:
        yield
        return
    before = signal.signal(signal.SIGALRM, expired)
    signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
