"""What a batch would do, and what it needs: nothing is written."""

import dataclasses
import shutil
from collections.abc import Sequence
from pathlib import Path

from vit_tf.batch import estimate, places
from vit_tf.batch.jobs import Job
from vit_tf.batch.ledger import DONE, FAILED, STARTED

COLUMNS = (
    "name",
    "state",
    "why",
    "parameters",
    "weights, MB",
    "disk, MB",
    "memory, MB",
)
TO_DO = "to do"


@dataclasses.dataclass(frozen=True)
class Row:
    """One job of a plan.

    Attributes:
        name: The job's.
        state: "done" or "to do".
        why: What is known of it.
        parameters: Its model's; None where that is not known yet.
        weights: Bytes of them.
        disk: Bytes that its bundle needs.
        memory: Bytes that its conversion needs.
    """

    name: str
    state: str
    why: str
    parameters: int | None
    weights: int
    disk: int
    memory: int


@dataclasses.dataclass(frozen=True)
class Plan:
    """What is done and to do, and what is in the way.

    Attributes:
        rows: A row for each job.
        workers: How many conversions run at once.
        free: Bytes of disk that are free where the bundles will be.
        problems: What the batch would refuse.
    """

    rows: tuple[Row, ...]
    workers: int
    free: int
    problems: tuple[str, ...]

    @property
    def to_do(self) -> list[Row]:
        return [row for row in self.rows if row.state == TO_DO]

    def __str__(self) -> str:
        """The rows in Markdown, and their sums."""
        lines = [COLUMNS, ["---"] * 3 + ["---:"] * 4, *map(_cells, self.rows)]
        table = "\n".join(f"| {' | '.join(line)} |" for line in lines)
        disk = sum(row.disk for row in self.to_do)
        largest = max((row.memory for row in self.to_do), default=0)
        at_once = min(self.workers, len(self.to_do))
        return (
            f"{table}\n\n"
            f"to do   {len(self.to_do):,} of {len(self.rows):,}\n"
            f"disk    {disk / 1e9:,.2f} GB, {self.free / 1e9:,.2f} GB are free\n"
            f"memory  {largest * at_once / 1e9:,.1f} GB: {at_once} at once, the "
            f"largest with {largest / 1e9:,.1f} GB"
        )


def plan(jobs: Sequence[Job], directory: Path, last: places.Last, workers: int) -> Plan:
    """What a batch would do.

    Args:
        jobs: All of them.
        directory: Where their bundles are, or will be.
        last: What the ledger there knows.
        workers: How many conversions run at once.
    """
    rows = tuple(_row(job, directory, last) for job in jobs)
    left = [job for job, row in zip(jobs, rows, strict=True) if row.state == TO_DO]
    problems = places.problems(left, directory, last)
    free = _free(directory)
    needed = sum(row.disk for row in rows if row.state == TO_DO)
    if needed > free:
        problems.append(
            f"{directory}: {free / 1e9:,.2f} GB are free, {needed / 1e9:,.2f} GB needed"
        )
    return Plan(rows, workers, free, tuple(problems))


def _row(job: Job, directory: Path, last: places.Last) -> Row:
    done = places.done(job, directory, last) is not None
    return Row(
        job.name,
        DONE if done else TO_DO,
        "its bundle is there" if done else _why(job, directory, last),
        estimate.parameters(job),
        estimate.weights(job),
        estimate.disk(job),
        estimate.memory(job),
    )


def _why(job: Job, directory: Path, last: places.Last) -> str:
    entry = last(job.name)
    if entry is None:
        return "new"
    if entry.key != job.key:
        return "another job had this name"
    if entry.state == FAILED:
        return f"failed: {entry.facts['error']}"
    return "was stopped" if entry.state == STARTED else "its bundle has gone"


def _free(directory: Path) -> int:
    """Bytes that are free where a folder is, or would be made."""
    there = next(p for p in (directory, *directory.absolute().parents) if p.exists())
    return shutil.disk_usage(there).free


def _cells(row: Row) -> list[str]:
    number = "-" if row.parameters is None else f"{row.parameters:,}"
    sizes = [f"{size / 1e6:,.0f}" for size in (row.weights, row.disk, row.memory)]
    why = " ".join(row.why.split()).replace("|", "\\|")
    return [row.name, row.state, why, number, *sizes]
