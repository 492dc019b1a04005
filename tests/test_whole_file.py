"""A file that is replaced as a whole, or not at all."""

import errno
import os

import pytest
from cli import tree

from vit_tf.export.whole_file import replacing, write_text


@pytest.fixture
def path(tmp_path):
    (tmp_path / "file").write_text("old")
    return tmp_path / "file"


def write_half(path, error):
    with replacing(path) as file:
        file.write(b"ha")
        file.flush()
        assert path.read_text() == "old"
        raise error


def test_a_file_is_replaced(path, tmp_path):
    write_text(path, "new")
    assert tree(tmp_path) == {"file": b"new"}
    assert path.stat().st_mode & 0o777 == 0o644


@pytest.mark.parametrize("error", [KeyboardInterrupt, ValueError])
def test_what_is_stopped_leaves_what_was_there(error, path, tmp_path):
    with pytest.raises(error):
        write_half(path, error)
    assert tree(tmp_path) == {"file": b"old"}


def test_where_there_is_no_room_the_file_is_named(path, tmp_path, monkeypatch):
    def full(descriptor):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match=rf"No space left on device: '{path}'"):
        write_text(path, "new")
    assert tree(tmp_path) == {"file": b"old"}
