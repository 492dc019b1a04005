"""NumPy's archives of arrays: .npz, as the original JAX models are."""

import math
import tokenize
import zipfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import NamedTuple

import ml_dtypes
import numpy as np

from vit_tf.checkpoints.archive import checked_members, data_offset
from vit_tf.checkpoints.errors import (
    ZIP_ERRORS,
    CorruptCheckpointError,
    UnknownLayoutError,
    UnsafeCheckpointError,
    describe,
    listing,
)

HEADERS = {
    (1, 0): np.lib.format.read_array_header_1_0,
    (2, 0): np.lib.format.read_array_header_2_0,
}
# What a header that is no header raises in NumPy, which evaluates it as a literal.
HEADER_ERRORS = (
    *ZIP_ERRORS, SyntaxError, TypeError, KeyError, RecursionError, MemoryError,
    tokenize.TokenError,
)  # fmt: skip


class _Array(NamedTuple):
    """Where an array is, and what its header says of it."""

    member: zipfile.ZipInfo
    shape: tuple[int, ...]
    order: str
    dtype: np.dtype
    start: int  # of its numbers, in the member


class NpzFile(Mapping[str, np.ndarray]):
    """The arrays of a file: name -> read-only array.

    An array that is stored as it is, as `np.savez` does, is a view of the mapped file;
    one that is compressed is inflated when it is asked for, and not kept. bfloat16,
    which NumPy writes as two nameless bytes, comes back as what it is.

    Raises:
        CorruptCheckpointError: if the file is not a whole .npz file.
        UnsafeCheckpointError: if an array is of Python objects, a pickle.
        TooLargeCheckpointError: if it inflates to far more than it is.
        UnknownLayoutError: if it holds something else than real numbers.
    """

    def __init__(self, path: str | Path):
        self.path = Path(path)
        found = describe(self.path)
        if not found.startswith("NumPy arrays"):
            raise CorruptCheckpointError(
                f"{self.path}: not a whole .npz file; found {found}"
            )
        members = checked_members(self.path)
        with zipfile.ZipFile(self.path) as archive:
            self._arrays = {
                member.filename.removesuffix(".npy"): self._header(archive, member)
                for member in members
            }
        self._check_kinds()

    def __getitem__(self, name: str) -> np.ndarray:
        array = self._arrays[name]
        if 0 in array.shape:
            values = np.empty(array.shape, array.dtype)
        elif array.member.compress_type == zipfile.ZIP_STORED:
            values = self._mapped(array)
        else:
            values = self._inflated(array)
        if array.dtype.kind == "V":
            return values.view(ml_dtypes.bfloat16)
        return values.astype(array.dtype.newbyteorder("="), copy=False)

    def __iter__(self) -> Iterator[str]:
        return iter(self._arrays)

    def __len__(self) -> int:
        return len(self._arrays)

    def _header(self, archive: zipfile.ZipFile, member: zipfile.ZipInfo) -> _Array:
        try:
            with archive.open(member) as file:
                header = HEADERS[np.lib.format.read_magic(file)]
                shape, fortran, dtype = header(file)
                start = file.tell()
            np.broadcast_to(np.zeros((), dtype), shape)  # as large as can be at all
        except HEADER_ERRORS as error:
            reason = str(error).splitlines()[0] if str(error) else type(error).__name__
            raise CorruptCheckpointError(
                f"{self.path}: {member.filename}: not a NumPy array ({reason})"
            ) from error
        claimed = start + dtype.itemsize * math.prod(shape)
        if claimed != member.file_size and not dtype.hasobject:
            raise CorruptCheckpointError(
                f"{self.path}: {member.filename}: {member.file_size:,} bytes found, "
                f"{claimed:,} expected for {dtype.name} of shape {shape}"
            )
        return _Array(member, shape, "F" if fortran else "C", dtype, start)

    def _check_kinds(self) -> None:
        objects = [name for name, a in self._arrays.items() if a.dtype.hasobject]
        if objects:
            raise UnsafeCheckpointError(
                f"{self.path}: {listing(objects)}: pickled Python objects found, and "
                "nothing of them was run; expected: arrays of numbers"
            )
        others = {n: a.dtype for n, a in self._arrays.items() if not _is_real(a.dtype)}
        if others:
            found = listing(f"{name} ({dtype})" for name, dtype in others.items())
            raise UnknownLayoutError(
                f"{self.path}: {found} found; expected: arrays of real numbers"
            )

    def _mapped(self, array: _Array) -> np.ndarray:
        offset = data_offset(self.path, array.member) + array.start
        return np.memmap(
            self.path, array.dtype, "r", offset, shape=array.shape, order=array.order
        )

    def _inflated(self, array: _Array) -> np.ndarray:
        with zipfile.ZipFile(self.path) as archive, archive.open(array.member) as file:
            file.read(array.start)
            data = file.read()  # no more than its size in the directory
        return np.frombuffer(data, array.dtype).reshape(array.shape, order=array.order)


def _is_real(dtype: np.dtype) -> bool:
    return dtype.kind in "biuf" or dtype == np.dtype("V2")
