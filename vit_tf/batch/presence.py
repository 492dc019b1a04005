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

FILE = ".working"  # what is locked; it stays in the folder, and is empty
_LOOK = 0.1  # seconds between two looks


@contextmanager
def working(directory: Path) -> Iterator[None]:
    """Within it, or until this process is killed, `wait_alone` waits."""
    with _opened(directory) as file:
        _lock(file, fcntl.LOCK_SH)
        yield


def wait_alone(directory: Path, seconds: float) -> bool:
    """Waits until no process is `working` in a folder.

    Where a file system has no locks, nobody is seen. NFS has them, from machine to
    machine, for files that are open for writing, and so what is locked is a file.

    Args:
        directory: The folder.
        seconds: How long to wait.

    Returns:
        Whether it came to that.
    """
    end = time.monotonic() + seconds
    with _opened(directory) as file:
        while not _lock(file, fcntl.LOCK_EX | fcntl.LOCK_NB):
            if time.monotonic() > end:
                return False
            time.sleep(_LOOK)
    return True


@contextmanager
def _opened(directory: Path) -> Iterator[int]:
    file = os.open(directory / FILE, os.O_RDWR | os.O_CREAT, 0o666)
    try:
        yield file
    finally:
        os.close(file)


def _lock(file: int, kind: int) -> bool:
    try:
        fcntl.flock(file, kind)
    except BlockingIOError:
        return False
    except OSError:  # a file system without such locks
        return True
    return True
