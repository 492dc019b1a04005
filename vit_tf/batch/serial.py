"""One job after the other, in this process: imports and tracing are paid once."""

import time
from collections.abc import Callable, Generator, Iterable

from vit_tf.batch.attempt import Outcome, Work, attempt
from vit_tf.batch.jobs import Job


def run(
    jobs: Iterable[Job],
    work: Work,
    *,
    retries: int = 0,
    timeout: float = 0,
    wait: Callable[[float], None] = time.sleep,
) -> Generator[Outcome]:
    """Does jobs, and yields each one's outcome before the next begins.

    Args:
        jobs: What to do; taken one by one.
        work: What does a job.
        retries: How often a job is tried again whose download failed, after 1, 2, 4 ...
            seconds. What else fails would fail again.
        timeout: Seconds that an attempt may take; 0 for any number. Compiled code is
            not interrupted before it returns to Python.
        wait: Waits for seconds.
    """
    for job in jobs:
        for again in range(retries + 1):
            outcome = attempt(job, work, timeout=timeout)
            if not (outcome.failure and outcome.failure.transient):
                break
            if again < retries:
                wait(2**again)
        yield outcome
