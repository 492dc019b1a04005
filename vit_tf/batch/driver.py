"""A batch from its jobs to its ledger: what is missing is done, and written down."""

from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from contextlib import closing
from pathlib import Path

from vit_tf.batch import places, presence
from vit_tf.batch.attempt import Outcome
from vit_tf.batch.jobs import Job
from vit_tf.batch.ledger import DONE, FAILED, STARTED, Entry, Ledger
from vit_tf.command import message
from vit_tf.export import staging

Engine = Callable[[Iterable[Job]], Generator[Outcome]]
GOES_ON = "the same command goes on once there is room"
PATIENCE = 60.0  # seconds for the workers of a run that was killed to end


class BatchError(ValueError):
    """A batch cannot go on. It says why, and what would help."""


def missing(jobs: Sequence[Job], directory: Path, ledger: Ledger) -> list[Job]:
    """The jobs that are still to do.

    A bundle that was finished when the process was killed, before the ledger said so,
    is written down.

    Args:
        jobs: All jobs of the batch.
        directory: Where their bundles are, each in a folder of its name.
        ledger: What is known of them.

    Raises:
        BatchError: if a bundle is in the way that this batch did not write, or workers
            of an earlier run do not end.
    """
    if not presence.wait_alone(directory, PATIENCE):
        raise BatchError(f"{directory}: workers of an earlier run still write there")
    left = []
    for job in jobs:
        entry = places.done(job, directory, ledger.last)
        if entry is None:
            left.append(job)
        elif entry is not ledger.last(job.name):
            _add(ledger, entry)
    if problems := places.problems(left, directory, ledger.last):
        raise BatchError("; ".join(problems))
    return left


def run(
    jobs: Sequence[Job],
    directory: Path,
    ledger: Ledger,
    engine: Engine,
    *,
    keep_going: bool = False,
    each: Callable[[Entry], None] = lambda entry: None,
) -> None:
    """Does jobs.

    Args:
        jobs: Those that are `missing`.
        directory: Where their bundles are written, each in a folder of its name.
        ledger: Every start and every end is added to it.
        engine: Does jobs: `vit_tf.batch.serial.run`, or `vit_tf.batch.ray_engine.run`,
            with its options.
        keep_going: Whether to go on after a job that failed.
        each: Called with the entry of every job that ended, as it ends.

    Raises:
        BatchError: if there is no room left.
    """
    open_jobs: dict[str, Job] = {}
    try:
        with closing(engine(_started(jobs, directory, ledger, open_jobs))) as outcomes:
            for outcome in outcomes:
                entry = _entry(outcome, directory)
                _add(ledger, entry)
                del open_jobs[entry.name]
                each(entry)
                if entry.state == FAILED and not keep_going:
                    break
    finally:  # the engine has ended what was on its way
        # What still writes is left to the next run, which waits for it.
        if open_jobs and presence.wait_alone(directory, PATIENCE):
            for job in open_jobs.values():
                places.clear_partial(job, directory)


def _started(
    jobs: Iterable[Job], directory: Path, ledger: Ledger, open_jobs: dict[str, Job]
) -> Iterator[Job]:
    """The jobs, each written down as it is taken; what is damaged of one is removed."""
    for job in jobs:
        places.clear(job, directory)
        _add(ledger, Entry(job.name, job.key, STARTED))
        open_jobs[job.name] = job
        yield job


def _add(ledger: Ledger, entry: Entry) -> None:
    """
    Raises:
        BatchError: if there is no room for it.
    """
    try:
        ledger.add(entry)
    except OSError as error:
        if error.errno in staging.NO_ROOM:
            raise BatchError(f"{message(error)}; {GOES_ON}") from error
        raise


def _entry(outcome: Outcome, directory: Path) -> Entry:
    """
    Raises:
        BatchError: if there was no room for it.
    """
    job, failure = outcome.job, outcome.failure
    if failure is None:
        return Entry(job.name, job.key, DONE, outcome.facts)
    if failure.errno in staging.NO_ROOM:
        raise BatchError(f"{job.name}: {failure.text}; {GOES_ON}")
    if facts := places.recover(job, directory):  # it was ended just behind its end
        return Entry(job.name, job.key, DONE, facts)
    return Entry(job.name, job.key, FAILED, {"error": str(failure)})
