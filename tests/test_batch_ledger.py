"""What became of each job, through whatever ends the process."""

import json
import os
import subprocess
import sys

import pytest

from vit_tf.batch.ledger import (
    DONE,
    FAILED,
    STARTED,
    Entry,
    Ledger,
    LedgerError,
    opened,
)

FIRST, SECOND = Entry("a", "k1", STARTED), Entry("a", "k1", DONE, {"seconds": 1.5})


@pytest.fixture
def path(tmp_path):
    return tmp_path / "out" / "ledger.jsonl"


def test_the_last_entry_counts_and_is_there_again(path):
    with opened(path) as ledger:
        assert ledger.last("a") is None
        for entry in (FIRST, Entry("b", "k2", FAILED, {"error": "wrong"}), SECOND):
            ledger.add(entry)
        assert ledger.last("a") == SECOND
    with opened(path) as ledger:
        assert ledger.last("a") == SECOND
        assert ledger.last("b").facts == {"error": "wrong"}
    assert len(path.read_bytes().splitlines()) == 3


def test_a_line_that_was_being_written_is_dropped(path):
    with opened(path) as ledger:
        ledger.add(FIRST)
    whole = path.read_bytes()
    for end in range(1, len(whole)):
        path.write_bytes(whole + whole[:end])
        with opened(path) as ledger:
            assert ledger.last("a") == FIRST
            ledger.add(SECOND)
        assert path.read_bytes().count(b"\n") == 2


@pytest.mark.parametrize("line", ["{", "[]", '{"name": "a"}', '{"other": 1}'])
def test_a_line_that_is_no_entry_is_named(path, line):
    path.parent.mkdir()
    path.write_text(
        json.dumps({"name": "a", "key": "k", "state": DONE}) + f"\n{line}\n"
    )
    with pytest.raises(LedgerError, match="line 2 is no entry"), opened(path):
        pass


def test_one_process_at_a_time(path):
    said = "another process works on this batch"
    with opened(path), pytest.raises(LedgerError, match=said), opened(path):
        pass
    with opened(path):
        pass


HOLDER = """
import os, signal, sys
from vit_tf.batch.ledger import Entry, opened
with opened(__import__("pathlib").Path(sys.argv[1])) as ledger:
    ledger.add(Entry("a", "k1", "started"))
    os.kill(os.getpid(), signal.SIGKILL)
"""


def test_a_killed_process_leaves_what_it_added_and_no_lock(path):
    done = subprocess.run([sys.executable, "-c", HOLDER, path], check=False)
    assert done.returncode == -9
    with opened(path) as ledger:
        assert ledger.last("a") == FIRST


class Full:
    """A file on a disk that takes so many more bytes."""

    def __init__(self, file, room):
        self.file, self.room, self.name = file, room, file.name

    def write(self, data):
        return self.file.write(data[: self.room])

    def __getattr__(self, name):
        return getattr(self.file, name)


@pytest.mark.parametrize("room", [0, 1, 20])
def test_a_full_disk_leaves_whole_lines(path, room):
    with opened(path) as ledger:
        ledger.add(FIRST)
        full = Ledger(Full(ledger._file, room), {})
        with pytest.raises(OSError, match=r"No space left on device.*ledger"):
            full.add(SECOND)
        assert full.last("a") is None
    with opened(path) as ledger:
        assert ledger.last("a") == FIRST
    assert os.path.getsize(path) == path.read_bytes().rindex(b"\n") + 1
