"""What became of each job, a line each, kept through whatever ends the process."""

import dataclasses
import errno
import fcntl
import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO

STARTED, DONE, FAILED = "started", "done", "failed"
NOT_STARTED = "not started"  # in no ledger: what is said of a job that has no entry


class LedgerError(ValueError):
    """A ledger cannot be used. It says why."""


@dataclasses.dataclass(frozen=True)
class Entry:
    """What is known of a job at one moment.

    Attributes:
        name: The job's.
        key: What the job's result depends on.
        state: "started", "done" or "failed".
        facts: Of a job that is done, what its bundle is (sizes, parity, seconds); of
            one that failed, the "error".
    """

    name: str
    key: str
    state: str
    facts: dict[str, Any] = dataclasses.field(default_factory=dict)


class Ledger:
    """The last entry of each job, and the file to which entries are added."""

    def __init__(self, file: BinaryIO, entries: dict[str, Entry]):
        self._file = file
        self._entries = entries

    def last(self, name: str) -> Entry | None:
        """What is known of a job; None if it was never started."""
        return self._entries.get(name)

    def add(self, entry: Entry) -> None:
        """Adds an entry. Once this returns, it outlasts a crash of the machine.

        Raises:
            OSError: if there is no room for it; then the file is as it was.
        """
        line = json.dumps(dataclasses.asdict(entry)).encode() + b"\n"
        end = self._file.seek(0, os.SEEK_END)
        try:
            written = self._file.write(line)
            if written != len(line):
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), self._file.name)
            os.fsync(self._file.fileno())
        except OSError:
            self._file.truncate(end)
            raise
        self._entries[entry.name] = entry


@contextmanager
def opened(path: Path) -> Iterator[Ledger]:
    """The ledger in a file, which is made where there is none.

    Raises:
        LedgerError: if another process has it open, or a line is no entry.
        OSError: if the file cannot be read or written.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("a+b", buffering=0) as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise LedgerError(f"{path}: another process works on this batch") from error
        file.seek(0)
        content = file.read()
        whole = content[: content.rfind(b"\n") + 1]
        file.truncate(len(whole))  # a line that was being written when it was killed
        yield Ledger(file, _entries(path, whole))


def read(path: Path) -> dict[str, Entry]:
    """Name -> last entry, of a ledger that is not to be changed; {} without one.

    Raises:
        LedgerError: if a line is no entry.
        OSError: if the file cannot be read.
    """
    content = path.read_bytes() if path.exists() else b""
    return _entries(path, content[: content.rfind(b"\n") + 1])


def _entries(path: Path, content: bytes) -> dict[str, Entry]:
    entries = {}
    for number, line in enumerate(content.splitlines(), 1):
        try:
            entry = Entry(**json.loads(line))
        except (ValueError, TypeError) as error:
            raise LedgerError(f"{path}: line {number} is no entry: {error}") from error
        entries[entry.name] = entry
    return entries
