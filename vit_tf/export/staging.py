"""A folder that appears whole, or not at all."""

import contextlib
import errno
import os
import shutil
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import tensorflow as tf

# What a write says where there is no room: TensorFlow passes these on as text only.
NO_ROOM = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


@contextlib.contextmanager
def staged(
    directory: str | Path, *, replaceable: Callable[[Path], bool] | None = None
) -> Iterator[Path]:
    """Yields an empty folder beside `directory`, and moves it there at the end.

    If the body raises, also by Ctrl-C, the folder is removed, with the parents that
    were made for it, and what was at `directory` before is still there.

    Args:
        directory: The final place.
        replaceable: Says of an existing `directory` whether it may be replaced; by
            default none may. An empty one always may.

    Raises:
        FileExistsError: if `directory` exists and may not be replaced.
        NotADirectoryError: if it is to be in something that is a file.
        OSError: if there is no room for what the body writes, whoever noticed it.
    """
    directory = Path(directory).resolve()
    check_place(directory, replaceable)
    made = [parent for parent in directory.parents if not parent.exists()]
    try:
        directory.parent.mkdir(parents=True, exist_ok=True)
        with _beside(directory) as staging:
            yield staging
            _bring_to_disk(staging)
            _move(staging, directory)
            _sync(directory.parent)
    except (OSError, tf.errors.OpError) as error:
        if code := _no_room(error):
            raise OSError(code, os.strerror(code), str(directory)) from error
        raise
    finally:
        for parent in made:
            with contextlib.suppress(OSError):  # one that holds something stays
                parent.rmdir()


@contextlib.contextmanager
def _beside(directory: Path) -> Iterator[Path]:
    prefix = f".{directory.name}.partial-"
    staging = Path(tempfile.mkdtemp(prefix=prefix, dir=directory.parent))
    try:
        staging.chmod(0o755)  # mkdtemp's own is for its owner alone
        yield staging
    finally:
        shutil.rmtree(staging, ignore_errors=True)


def _bring_to_disk(folder: Path) -> None:
    """What is in a folder, so that a crash of the machine leaves no empty files."""
    for path in (*folder.rglob("*"), folder):
        _sync(path)


def _sync(path: Path) -> None:
    opened = os.open(path, os.O_RDONLY)
    try:
        os.fsync(opened)
    finally:
        os.close(opened)


def check_place(directory: Path, replaceable: Callable[[Path], bool] | None) -> None:
    """That something may be written to `directory`, an absolute path.

    Raises:
        FileExistsError, NotADirectoryError: as `staged` does.
    """
    for parent in directory.parents:
        if parent.exists() and not parent.is_dir():
            raise NotADirectoryError(
                f"{parent} is a file; expected: a folder, to write {directory} in"
            )
    if directory.exists() and not directory.is_dir():
        raise FileExistsError(f"{directory} is a file; expected: a folder to write")
    if directory.is_mount():
        raise FileExistsError(
            f"{directory} is a mount point, which cannot be replaced as a whole; name "
            "a folder in it"
        )
    if not directory.exists() or not any(directory.iterdir()):
        return
    if replaceable is None:
        raise FileExistsError(
            f"{directory} exists and is not empty; pass --overwrite (overwrite=True) "
            "to replace the bundle there, or name another folder"
        )
    if not replaceable(directory):
        found = sorted(path.name for path in directory.iterdir())
        shown = ", ".join(found[:5]) + (", ..." if found[5:] else "")
        raise FileExistsError(
            f"{directory} holds {shown}: not a bundle, so it is not overwritten"
        )


def _move(staging: Path, directory: Path) -> None:
    """Puts `staging` in the place of `directory`; what was there goes last."""
    if not directory.exists():
        staging.rename(directory)
        return
    old = staging.with_name(staging.name + "-replaced")
    try:
        directory.rename(old)
        staging.rename(directory)
    finally:  # also when interrupted between the two
        if old.exists() and not directory.exists():
            old.rename(directory)
        shutil.rmtree(old, ignore_errors=True)


def _no_room(error: OSError | tf.errors.OpError) -> int | None:
    """Which of `NO_ROOM` an error is, if any."""
    for code in NO_ROOM:
        if getattr(error, "errno", None) == code or os.strerror(code) in str(error):
            return code
    return None
