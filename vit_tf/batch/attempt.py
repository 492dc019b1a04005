"""One attempt at a job, and how it ended: as values, which go from process to process.

Exceptions do not: many of them cannot be pickled, or come back with another message.
"""

import dataclasses
from collections.abc import Callable
from typing import Any

from vit_tf.batch.jobs import Job
from vit_tf.batch.limits import (
    JobMemoryError,
    LimitError,
    deadline,
    memory_limit,
)
from vit_tf.checkpoints.errors import DownloadError
from vit_tf.command import message

Work = Callable[[Job], dict[str, Any]]


@dataclasses.dataclass(frozen=True)
class Failure:
    """Why a job is not done.

    Attributes:
        kind: The name of the exception's type.
        text: What it says.
        errno: The system's number of it, where it has one.
        transient: Whether the same might go well later: a download that failed.
        interrupted: Whether it was ended at some point of its work, for time or memory.
        for_memory: Whether it took more memory than it may.
    """

    kind: str
    text: str
    errno: int | None = None
    transient: bool = False
    interrupted: bool = False
    for_memory: bool = False

    @classmethod
    def of(cls, error: BaseException) -> "Failure":
        """What was raised."""
        of_system = isinstance(error, OSError) and error.strerror
        return cls(
            type(error).__name__,
            message(error) if of_system else str(error).strip(),
            error.errno if of_system else None,
            transient=isinstance(error, DownloadError),
            interrupted=isinstance(error, LimitError),
            for_memory=isinstance(error, JobMemoryError),
        )

    def __str__(self) -> str:
        return f"{self.kind}: {self.text}"


@dataclasses.dataclass(frozen=True)
class Outcome:
    """How a job ended: with what is known of its bundle, or with a failure.

    Attributes:
        job: The job.
        facts: As `vit_tf.batch.work.convert` gives them; empty after a failure.
        failure: Why it is not done; None where it is.
    """

    job: Job
    facts: dict[str, Any]
    failure: Failure | None = None


def attempt(job: Job, work: Work, *, timeout: float = 0, memory: int = 0) -> Outcome:
    """Does a job once.

    Args:
        job: What to do.
        work: What does it.
        timeout: Seconds that it may take; 0 for any number.
        memory: Bytes that this process may use meanwhile; 0 for any number.
    """
    try:
        with deadline(timeout), memory_limit(memory):
            return Outcome(job, work(job))
    except (Exception, LimitError) as error:  # noqa: BLE001 - it is the job's outcome
        return Outcome(job, {}, Failure.of(error))
