"""What is there of each job: in the place of its bundle, and beside it."""

import json
import shutil
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from vit_tf.batch.jobs import Job
from vit_tf.batch.ledger import DONE, FAILED, STARTED, Entry
from vit_tf.export import bundle
from vit_tf.parity import LayerDiff

Last = Callable[[str], Entry | None]  # what a ledger knows of the job of a name


def whole(place: Path) -> dict[str, Any] | None:
    """What is known of a bundle that is there, if its files are as they were written.

    Returns:
        What `work.convert` gives, but for what the conversion cost; None where there is
        no bundle, or a damaged one.
    """
    if not bundle.is_bundle(place):
        return None
    try:
        proven = json.loads((place / bundle.PARITY).read_text())
        described = json.loads((place / bundle.CONFIG).read_text())
    except (OSError, ValueError):  # a crash of the machine left them empty
        return None
    hashes = bundle.hashes(place)
    if any(hashes.get(name) != digest for name, digest in proven["result"].items()):
        return None
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


def done(job: Job, directory: Path, last: Last) -> Entry | None:
    """What is known of a job's bundle, if it is there and of this very job.

    A process that is killed after a bundle is in its place, and before the ledger says
    so, leaves one that was started and is whole: such an entry is not in the ledger.
    """
    entry, place = last(job.name), directory / job.name
    if entry is None or entry.key != job.key or not bundle.is_bundle(place):
        return None
    if entry.state != STARTED:
        return entry if entry.state == DONE else None
    facts = whole(place)
    return Entry(job.name, job.key, DONE, facts) if facts else None


def recover(job: Job, directory: Path) -> dict[str, Any] | None:
    """What a process that is no more has done of a job that this batch gave it.

    Returns:
        As `whole`, of its bundle. Where that is None, nothing is left of the job.
    """
    facts = whole(directory / job.name)
    if facts is None:
        clear(job, directory)
    else:
        clear_partial(job, directory)
    return facts


def clear(job: Job, directory: Path) -> None:
    """Removes a job's bundle, and what was being written of it."""
    clear_partial(job, directory)
    if bundle.is_bundle(directory / job.name):
        shutil.rmtree(directory / job.name)


def clear_partial(job: Job, directory: Path) -> None:
    """Removes what was being written of a job by a process that is no more."""
    place = directory / job.name
    for left in place.parent.glob(f".{place.name}.partial-*"):
        shutil.rmtree(left)


def problems(jobs: Iterable[Job], directory: Path, last: Last) -> list[str]:
    """What is in the way of jobs that are not done, and is not this batch's.

    A job that was never started, or failed, has left nothing in its place, and one that
    was started or done a bundle.
    """
    strange, changed = [], []
    for job in jobs:
        entry, place = last(job.name), directory / job.name
        if not place.exists():
            continue
        left = entry is not None and entry.state != FAILED and bundle.is_bundle(place)
        if not left:
            strange.append(job.name)
        elif entry.key != job.key:
            changed.append(job.name)
    found = []
    if strange:
        found.append(
            f"{directory} holds {', '.join(strange[:5])}, which this batch did not "
            "write; expected: another folder"
        )
    if changed:
        found.append(
            f"{directory} holds {', '.join(changed[:5])} of other jobs of that name; "
            "expected: those folders gone, or other names"
        )
    return found
