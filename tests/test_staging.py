"""A folder that appears whole, or not at all."""

import errno
import os
import re

import pytest
import tensorflow as tf
from cli import tree

from vit_tf.export.staging import staged


def write(directory, text="new", **options):
    with staged(directory, **options) as folder:
        (folder / "inner").mkdir()
        (folder / "inner/file").write_text(text)


def write_half(directory, error, **options):
    with staged(directory, **options) as folder:
        (folder / "file").write_text("half")
        raise error


def replace(directory):
    write(directory, replaceable=lambda place: (place / "inner/file").exists())


def test_it_appears_at_the_end_and_alone(tmp_path):
    with staged(tmp_path / "a/b/out") as folder:
        (folder / "file").write_text("x")
        assert not (tmp_path / "a/b/out").exists()
        assert folder.parent == tmp_path / "a/b"  # one rename away
    assert tree(tmp_path) == {
        "a": b"",
        "a/b": b"",
        "a/b/out": b"",
        "a/b/out/file": b"x",
    }
    assert (tmp_path / "a/b/out").stat().st_mode & 0o777 == 0o755


@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt, SystemExit])
def test_nothing_stays_of_a_body_that_raises(error, tmp_path):
    with pytest.raises(error):
        write_half(tmp_path / "a/b/out", error)
    assert tree(tmp_path) == {}


def test_parents_that_were_there_stay(tmp_path):
    (tmp_path / "a").mkdir()
    with pytest.raises(KeyError):
        write_half(tmp_path / "a/b/out", KeyError)
    assert tree(tmp_path) == {"a": b""}


def test_an_empty_folder_is_taken(tmp_path):
    (tmp_path / "out").mkdir()
    write(tmp_path / "out")
    assert tree(tmp_path / "out") == {"inner": b"", "inner/file": b"new"}


def test_a_folder_that_holds_something_is_not(tmp_path):
    write(tmp_path / "out", "old")
    before = tree(tmp_path)
    with pytest.raises(FileExistsError, match=r"not empty; pass --overwrite"):
        write(tmp_path / "out")
    assert tree(tmp_path) == before


def test_what_may_be_replaced_is(tmp_path):
    write(tmp_path / "out", "old")
    (tmp_path / "out/extra").write_text("of the old one")
    replace(tmp_path / "out")
    assert tree(tmp_path) == {
        "out": b"",
        "out/inner": b"",
        "out/inner/file": b"new",
    }


def test_something_else_is_not_replaced(tmp_path):
    (tmp_path / "out").mkdir()
    for number in range(7):
        (tmp_path / f"out/thesis{number}.tex").write_text("three years")
    before = tree(tmp_path)
    with pytest.raises(
        FileExistsError, match=r"holds thesis0\.tex.*, \.\.\.: not a bun"
    ):
        replace(tmp_path / "out")
    assert tree(tmp_path) == before


def test_a_file_is_not_replaced(tmp_path):
    (tmp_path / "out").write_text("x")
    with pytest.raises(FileExistsError, match="is a file; expected: a folder"):
        replace(tmp_path / "out")
    with pytest.raises(NotADirectoryError, match="is a file; expected: a folder"):
        replace(tmp_path / "out/a/b")
    assert tree(tmp_path) == {"out": b"x"}


def test_a_mount_point_is_not_replaced():
    with pytest.raises(FileExistsError, match="is a mount point"):
        replace("/")


def test_a_link_is_followed(tmp_path):
    write(tmp_path / "disk/out", "old")
    (tmp_path / "link").symlink_to(tmp_path / "disk/out")
    replace(tmp_path / "link")
    assert (tmp_path / "link").is_symlink()
    assert (tmp_path / "disk/out/inner/file").read_text() == "new"
    assert sorted(path.name for path in (tmp_path / "disk").iterdir()) == ["out"]


def test_what_was_there_stays_where_the_new_one_fails(tmp_path):
    write(tmp_path / "out", "old")
    before = tree(tmp_path)
    with pytest.raises(KeyboardInterrupt):
        write_half(tmp_path / "out", KeyboardInterrupt, replaceable=lambda place: True)
    assert tree(tmp_path) == before


@pytest.mark.parametrize("interrupted", [1, 2])
@pytest.mark.parametrize("after", [False, True])
def test_an_interrupted_move_leaves_one_of_both(
    interrupted, after, tmp_path, monkeypatch
):
    write(tmp_path / "out", "old")
    calls = []

    def rename(path, target):
        calls.append(path)
        if len(calls) == interrupted and not after:
            raise KeyboardInterrupt
        os.rename(path, target)
        if len(calls) == interrupted:
            raise KeyboardInterrupt

    monkeypatch.setattr("pathlib.Path.rename", rename)
    with pytest.raises(KeyboardInterrupt):
        replace(tmp_path / "out")
    text = "new" if (interrupted, after) == (2, True) else "old"
    assert tree(tmp_path / "out") == {"inner": b"", "inner/file": text.encode()}
    assert [path.name for path in tmp_path.iterdir()] == ["out"]


@pytest.mark.parametrize(
    "error",
    [
        OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), "/x/.out.partial-1/file"),
        OSError(f"h5py: error message = '{os.strerror(errno.ENOSPC)}'"),
        tf.errors.ResourceExhaustedError(
            None, None, f"/x/.out.partial-1/variables; {os.strerror(errno.ENOSPC)}"
        ),
    ],
    ids=["python", "h5py", "tensorflow"],
)
def test_no_room_is_said_in_one_way(error, tmp_path):
    expected = f"[Errno {errno.ENOSPC}] {os.strerror(errno.ENOSPC)}: '{tmp_path}/out'"
    with pytest.raises(OSError, match=re.escape(expected)) as raised:
        write_half(tmp_path / "out", error)
    assert raised.value.errno == errno.ENOSPC
    assert raised.value.__cause__ is error
    assert tree(tmp_path) == {}


def test_another_error_stays_what_it_was(tmp_path):
    memory = tf.errors.ResourceExhaustedError(None, None, "OOM when allocating tensor")
    for error in (memory, FileNotFoundError(errno.ENOENT, "No such file", "mine.pth")):
        with pytest.raises(type(error)) as raised:
            write_half(tmp_path / "out", error)
        assert raised.value is error


def test_what_appears_is_on_the_disk(tmp_path, monkeypatch):
    """A crash of the machine leaves no file empty that was there before it."""
    synced, sync = [], os.fsync

    def fsync(opened):
        synced.append((os.readlink(f"/proc/self/fd/{opened}"), target.exists()))
        sync(opened)

    target = tmp_path / "target"
    monkeypatch.setattr(os, "fsync", fsync)
    with staged(target) as folder:
        (folder / "inner").mkdir()
        (folder / "inner" / "file").write_text("x")
    assert synced == [
        (str(folder / "inner"), False),
        (str(folder / "inner" / "file"), False),
        (str(folder), False),
        (str(tmp_path), True),
    ]
