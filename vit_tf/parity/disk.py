"""Arrays in files, where memory would not hold them."""

import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import numpy as np


class Disk:
    """A folder of arrays. What is in it is read when it is used, and not before.

    The layers of a large model give many times what its weights are; compared one after
    the other, none need be in memory longer than it takes.

    Args:
        folder: Where the files are.
        in_memory: Bytes that stay in memory all the same: the first that come.
    """

    def __init__(self, folder: Path, in_memory: float = 0):
        self._folder = folder
        self._room = in_memory
        self._count = 0

    def keep(self, name: str, array: np.ndarray) -> np.ndarray:
        """Writes an array to a file of its own, unless there is room for it in memory.

        Args:
            name: What it is called, for the message of an error.
            array: Of any shape.

        Returns:
            The same values: read-only, mapped from the file; or the array itself.

        Raises:
            OSError: if there is no room for it.
        """
        if array.nbytes < self._room:
            self._room -= array.nbytes
            return array
        path = self._folder / f"{self._count}.npy"
        self._count += 1
        try:
            np.save(path, array)
        except OSError as error:
            size = f"{array.nbytes / 1e6:,.1f} MB of {name}"
            raise OSError(f"{path}: {size} could not be written: {error}") from error
        mapped = np.load(path, mmap_mode="r")
        path.unlink()  # its blocks go with the mapping, also where a process is killed
        return mapped

    def keep_all(self, arrays: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        """`keep` for each; a mapping that makes its arrays holds one at a time."""
        return {name: self.keep(name, array) for name, array in arrays.items()}


@contextmanager
def temporary_disk(in_memory: float = 0) -> Iterator[Disk]:
    """A `Disk` in the folder for temporary files, gone afterwards."""
    with tempfile.TemporaryDirectory(prefix="vit_tf-parity-") as folder:
        yield Disk(Path(folder), in_memory)
