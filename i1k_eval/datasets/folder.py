"""A folder of images: class folders, or all in one."""

import os
import stat
from collections.abc import Iterator, Sequence
from pathlib import Path

from i1k_eval.datasets.classes import Model
from i1k_eval.datasets.dataset import Dataset, DatasetError, is_image, listed
from i1k_eval.datasets.files import checked_size, class_and_file, of_files
from i1k_eval.datasets.label_file import LabelFile


def open_folder(
    folder: Path, *, split: str, labels: LabelFile, model: Model
) -> Dataset:
    """A folder as a data set.

    Args:
        folder: what the user named.
        split: a folder in it that is meant, e.g. "val".
        labels: what a label file says.
        model: what is known of the model.

    Raises:
        DatasetError: if there are no images or their classes cannot be told.
    """
    root = folder / split
    if not root.is_dir():
        there = listed(sorted(path.name for path in folder.iterdir() if path.is_dir()))
        raise DatasetError(
            f"{folder} has no folder {split!r}; it has {there or 'none'}"
        )
    try:
        files = sorted(_files(root))
    except OSError as error:
        raise DatasetError(f"{folder} cannot be read: {error}") from error
    paths = [path for path in files if is_image(path)]
    if not paths:
        raise DatasetError(
            f"{root} has no images; its files are: {listed(files) or 'none'}"
        )
    class_and_file(paths)

    def read(start: int, stop: int) -> Iterator[bytes | OSError]:
        return _read(root, paths[start:stop])

    return of_files(str(folder), paths, read, labels, model)


def _files(root: Path) -> Iterator[str]:
    """What is in the folder and in its folders, and one file of what is deeper."""
    for path, entry in _entries(root, ""):
        if not entry.is_dir():
            yield path
            continue
        for inner_path, inner in _entries(root, path + "/"):
            if inner.is_dir():
                yield from _first_image(root, inner_path)
            else:
                yield inner_path


def _entries(root: Path, inside: str) -> Iterator[tuple[str, os.DirEntry[str]]]:
    with os.scandir(root / inside) as entries:
        for entry in entries:
            if not entry.name.startswith("."):
                yield inside + entry.name, entry


def _first_image(root: Path, path: str) -> Iterator[str]:
    for folder, _, files in os.walk(root / path):
        for file in filter(is_image, files):
            yield Path(folder, file).relative_to(root).as_posix()
            return


def _read(root: Path, paths: Sequence[str]) -> Iterator[bytes | OSError]:
    for path in paths:
        try:
            yield _bytes(root / path)
        except OSError as error:
            yield error


def _bytes(path: Path) -> bytes:
    found = path.stat()
    if not stat.S_ISREG(found.st_mode):  # a pipe would never end
        raise OSError("no regular file")
    checked_size(found.st_size)
    return path.read_bytes()
