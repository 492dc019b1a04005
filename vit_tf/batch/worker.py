"""A conversion in a process of its own, which imports what it needs with the first."""

import functools
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from vit_tf import quiet
from vit_tf.batch import jobs, presence
from vit_tf.batch.jobs import Job


@contextmanager
def at_work(directory: Path) -> Iterator[None]:
    """Within it, the process is seen at work in the folder, and has its imports."""
    with presence.working(directory):
        _import()
        yield


def convert(job: Job, directory: Path, start: Path) -> dict[str, Any]:
    """As `vit_tf.batch.work.convert`, of paths that begin at `start`."""
    from vit_tf.batch import work

    return work.convert(jobs.located(job, start), directory)


@functools.cache
def _import() -> None:
    quiet.import_tensorflow()
    quiet.drop_notes()
