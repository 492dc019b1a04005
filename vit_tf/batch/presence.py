"""Who works in a folder: processes that outlive the one that started them are seen.

A batch that is killed leaves its workers for some seconds, until their cluster ends
them. What they still write must not meet what the next run does.
"""

import fcntl
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

_LOOK = 0.1  # seconds between two looks


@contextmanager
def working(directory: Path) -> Iterator[None]:
    """Within it, or until this process is killed, `wait_alone` waits."""
    with _opened(directory) as folder:
        _lock(folder, fcntl.LOCK_SH)
        yield


def wait_alone(directory: Path, seconds: float) -> bool:
    """Waits until no process is `working` in a folder.

    Where a file system has no locks for folders, nobody is seen.

    Args:
        directory: The folder.
        seconds: How long to wait.

    Returns:
        Whether it came to that.
    """
    end = time.monotonic() + seconds
    with _opened(directory) as folder:
        while not _lock(folder, fcntl.LOCK_EX | fcntl.LOCK_NB):
            if time.monotonic() > end:
                return False
            time.sleep(_LOOK)
    return True


@contextmanager
def _opened(directory: Path) -> Iterator[int]:
    folder = os.open(directory, os.O_RDONLY)
    try:
        yield folder
    finally:
        os.close(folder)


def _lock(folder: int, kind: int) -> bool:
    try:
        fcntl.flock(folder, kind)
    except BlockingIOError:
        return False
    except OSError:  # a file system without such locks
        return True
    return True
