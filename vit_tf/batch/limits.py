"""What a job may take, of time and of memory: one that takes more is ended."""

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType

_STATUS = Path("/proc/self/status")
_LOOK = 0.1  # seconds between two looks at the memory in use


class LimitError(BaseException):
    """A job took more than it may. No `except Exception` on the way hides it."""


class JobTimeoutError(LimitError):
    """A job took longer than it may."""


class JobMemoryError(LimitError):
    """A job took more memory than it may."""


@contextmanager
def deadline(seconds: float) -> Iterator[None]:
    """Within it, `JobTimeoutError` is raised once so many seconds have passed.

    Compiled code is not interrupted before it returns to Python.

    Args:
        seconds: How many; 0 for any number.
    """

    def expired(number: int, frame: FrameType | None) -> None:
        raise JobTimeoutError(f"not done within {seconds:g} s")

    if not seconds:
        yield
        return
    before = signal.signal(signal.SIGALRM, expired)
    signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


@contextmanager
def memory_limit(limit: int) -> Iterator[None]:
    """Within it, `JobMemoryError` is raised once this process uses more memory.

    What counts is what the process does not share and could not read again from a file.
    A limit of the system's own (setrlimit) would count what is reserved as well, and
    have TensorFlow abort the process. As with `deadline`, compiled code returns first.

    Args:
        limit: In bytes; 0 for any number, which is also where the system does not tell.
    """
    if not limit or memory_in_use() is None:
        yield
        return
    ended = threading.Event()

    def exceeded(number: int, frame: FrameType | None) -> None:
        raise JobMemoryError(f"more than {limit / 1e9:.1f} GB of memory were in use")

    def watch() -> None:
        while not ended.wait(_LOOK):
            if (memory_in_use() or 0) > limit:
                signal.raise_signal(signal.SIGUSR1)  # Python's main thread takes it
                return

    before = signal.signal(signal.SIGUSR1, exceeded)
    watcher = threading.Thread(target=watch, daemon=True)
    watcher.start()
    try:
        yield
    finally:
        ended.set()
        watcher.join()
        signal.signal(signal.SIGUSR1, before)


def memory_in_use() -> int | None:
    """Bytes of this process's own memory; None where the system does not tell."""
    return status_bytes("RssAnon")


def status_bytes(field: str) -> int | None:
    """A field of /proc/self/status that is a number of kB, in bytes; None without."""
    try:
        lines = _STATUS.read_text().splitlines()
    except OSError:  # no Linux
        return None
    fields = dict(line.split(":", 1) for line in lines if ":" in line)
    return int(fields[field].split()[0]) * 1024 if field in fields else None
