"""A batch from its jobs to its ledger: what is missing is done, and written down."""

import json
import shutil
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

from vit_tf.batch.jobs import Job
from vit_tf.batch.ledger import DONE, FAILED, STARTED, Entry, Ledger
from vit_tf.batch.serial import Outcome
from vit_tf.command import message
from vit_tf.export import bundle, staging
from vit_tf.parity import LayerDiff

Engine = Callable[[Iterable[Job]], Iterator[Outcome]]


class BatchError(ValueError):
    """A batch cannot go on. It says why, and what would help."""


def run(
    jobs: Sequence[Job],
    directory: Path,
    ledger: Ledger,
    engine: Engine,
    *,
    keep_going: bool = False,
    each: Callable[[Entry], None] = lambda entry: None,
) -> list[Entry]:
    """Does what is missing of a batch.

    Args:
        jobs: All jobs of the batch.
        directory: Where their bundles are written, each in a folder of its name.
        ledger: What is known of them; every start and end is added to it.
        engine: Does jobs: `vit_tf.batch.serial.run`, with its options.
        keep_going: Whether to go on after a job that failed.
        each: Called with the last entry of every job, in the order of ending; first
            with those that were done before.

    Returns:
        The last entry of every job that was started, in the order of the jobs.

    Raises:
        BatchError: if a bundle is in the way that this batch did not write, or there is
            no room left.
    """
    missing = []
    for job in jobs:
        if entry := _done_before(job, directory, ledger):
            each(entry)
        else:
            missing.append(job)
    _check_places(missing, directory, ledger)
    for outcome in engine(_started(missing, directory, ledger)):
        _stop_without_room(outcome)
        entry = _entry(outcome)
        ledger.add(entry)
        each(entry)
        if entry.state == FAILED and not keep_going:
            break
    entries = (ledger.last(job.name) for job in jobs)
    return [entry for entry in entries if entry]


def _done_before(job: Job, directory: Path, ledger: Ledger) -> Entry | None:
    """What is known of a job's bundle, if it is there and of this very job.

    A process that is killed after a bundle is in its place, and before the ledger says
    so, leaves one that was started and is whole.
    """
    last, place = ledger.last(job.name), directory / job.name
    if last is None or last.key != job.key or not bundle.is_bundle(place):
        return None
    if last.state != STARTED:
        return last if last.state == DONE else None
    proven = json.loads((place / bundle.PARITY).read_text())
    hashes = bundle.hashes(place)
    if any(hashes.get(name) != digest for name, digest in proven["result"].items()):
        return None
    found = Entry(job.name, job.key, DONE, _facts(place, proven))
    ledger.add(found)
    return found


def _facts(place: Path, proven: dict[str, Any]) -> dict[str, Any]:
    """As `work.convert` gives them, of a bundle that is there; not what it cost."""
    described = json.loads((place / bundle.CONFIG).read_text())
    return {
        "architecture": described["architecture"],
        "tensors": proven["source"]["tensors"],
        "parameters": proven["source"]["parameters"],
        "bytes": sum(bundle.files(place).values()),
        "parity": {
            report["title"]: LayerDiff(**report["worst"]).relative
            for report in proven["reports"]
        },
        "seconds": None,
        "cpu_seconds": None,
        "peak_bytes": None,
    }


def _check_places(jobs: Sequence[Job], directory: Path, ledger: Ledger) -> None:
    """That nothing of another's is where bundles are to be.

    A job that was never started, or failed, has left nothing there, and one that was
    started or done a bundle.
    """
    strange = [
        job.name
        for job in jobs
        if (place := directory / job.name).exists()
        and not (
            (last := ledger.last(job.name))
            and last.state != FAILED
            and bundle.is_bundle(place)
        )
    ]
    changed = [
        job.name
        for job in jobs
        if (last := ledger.last(job.name))
        and last.key != job.key
        and (directory / job.name).exists()
    ]
    if strange:
        raise BatchError(
            f"{directory} holds {', '.join(strange[:5])}, which this batch did not "
            "write; expected: another folder"
        )
    if changed:
        raise BatchError(
            f"{directory} holds {', '.join(changed[:5])} of other jobs of that name; "
            "expected: those folders gone, or other names"
        )


def _started(jobs: Iterable[Job], directory: Path, ledger: Ledger) -> Iterator[Job]:
    """The jobs, each written down as it is taken; what is damaged of one is removed."""
    for job in jobs:
        place = directory / job.name
        for left in place.parent.glob(f".{place.name}.partial-*"):
            shutil.rmtree(left)
        if bundle.is_bundle(place):
            shutil.rmtree(place)
        ledger.add(Entry(job.name, job.key, STARTED))
        yield job


def _stop_without_room(outcome: Outcome) -> None:
    if isinstance(outcome.error, OSError) and outcome.error.errno in staging.NO_ROOM:
        raise BatchError(
            f"{outcome.job.name}: {message(outcome.error)}; the same command goes on "
            "once there is room"
        ) from outcome.error


def _entry(outcome: Outcome) -> Entry:
    job = outcome.job
    if outcome.error is None:
        return Entry(job.name, job.key, DONE, outcome.facts)
    error = f"{type(outcome.error).__name__}: {message(outcome.error)}"
    return Entry(job.name, job.key, FAILED, {"error": error})
