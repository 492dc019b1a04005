"""A file that is replaced as a whole, or not at all."""

import contextlib
import os
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

from vit_tf.export.staging import NO_ROOM


@contextlib.contextmanager
def replacing(path: Path) -> Iterator[BinaryIO]:
    """A file to write, which is at `path` at the end, or not at all.

    Raises:
        OSError: naming `path`, if there is no room for it.
    """
    prefix = f".{path.name}.partial-"
    try:
        with tempfile.NamedTemporaryFile(
            dir=path.parent, prefix=prefix, delete=False
        ) as file:
            try:
                yield file
                file.flush()
                os.fsync(file.fileno())
                os.fchmod(file.fileno(), 0o644)  # its own is for its owner alone
                os.replace(file.name, path)
            except BaseException:
                os.unlink(file.name)
                raise
    except OSError as error:
        if error.errno in NO_ROOM:
            raise OSError(error.errno, os.strerror(error.errno), str(path)) from error
        raise


def write_text(path: Path, text: str) -> None:
    """Replaces what a file says."""
    with replacing(path) as file:
        file.write(text.encode())
