"""A folder that appears whole, or not at all."""

import contextlib
import shutil
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path


@contextlib.contextmanager
def staged(
    directory: str | Path, *, replaceable: Callable[[Path], bool] | None = None
) -> Iterator[Path]:
    """Yields an empty folder beside `directory`, and moves it there at the end.

    If the body raises, also by Ctrl-C, the folder is removed, and what was at
    `directory` before is still there.

    Args:
        directory: The final place.
        replaceable: Says of an existing `directory` whether it may be replaced; by
            default none may. An empty one always may.

    Raises:
        FileExistsError: if `directory` exists and may not be replaced.
    """
    directory = Path(directory)
    _check_place(directory, replaceable)
    directory.parent.mkdir(parents=True, exist_ok=True)
    prefix = f".{directory.name}.partial-"
    staging = Path(tempfile.mkdtemp(prefix=prefix, dir=directory.parent))
    try:
        staging.chmod(0o755)  # mkdtemp's own is for its owner alone
        yield staging
        _move(staging, directory)
    finally:
        shutil.rmtree(staging, ignore_errors=True)


def _check_place(directory: Path, replaceable: Callable[[Path], bool] | None) -> None:
    if not directory.exists() or (directory.is_dir() and not any(directory.iterdir())):
        return
    if not directory.is_dir():
        raise FileExistsError(f"{directory} is a file; expected: a folder to write")
    if replaceable is None:
        raise FileExistsError(
            f"{directory} exists and is not empty; pass --overwrite (overwrite=True) "
            "to replace the bundle there, or name another folder"
        )
    if not replaceable(directory):
        found = sorted(path.name for path in directory.iterdir())[:5]
        raise FileExistsError(
            f"{directory} holds {found}, not a bundle: it is not overwritten"
        )


def _move(staging: Path, directory: Path) -> None:
    """Puts `staging` in the place of `directory`; what was there goes last."""
    if not directory.exists():
        staging.rename(directory)
        return
    old = staging.with_name(staging.name + "-replaced")
    directory.rename(old)
    try:
        staging.rename(directory)
    except BaseException:
        old.rename(directory)
        raise
    shutil.rmtree(old, ignore_errors=True)
