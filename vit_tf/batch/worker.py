"""A conversion in a process of its own, which imports what it needs with the first."""

import functools
from pathlib import Path
from typing import Any

from vit_tf import quiet
from vit_tf.batch import presence
from vit_tf.batch.jobs import Job


def convert(job: Job, directory: Path) -> dict[str, Any]:
    """As `vit_tf.batch.work.convert`; the process is seen at work in the folder."""
    with presence.working(directory):
        _import()
        from vit_tf.batch import work

        return work.convert(job, directory)


@functools.cache
def _import() -> None:
    quiet.import_tensorflow()
    quiet.drop_notes()
