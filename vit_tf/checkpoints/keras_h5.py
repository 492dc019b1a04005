"""Weights as Keras writes them: `.weights.h5`, and the one inside a `.keras`."""

import io
import math
import struct
import zipfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import NamedTuple

import h5py
import ml_dtypes
import numpy as np

from vit_tf.checkpoints.archive import checked_members, data_offset
from vit_tf.checkpoints.errors import (
    CheckpointError,
    CorruptCheckpointError,
    UnknownLayoutError,
    UnsafeCheckpointError,
    describe,
    listing,
)

MEMBER = "model.weights.h5"  # of a .keras
# Groups of what is no layer: an optimizer's slots, a dropout's seed.
BESIDE = ("optimizer", "seed_generator")
H5_ERRORS = (OSError, RuntimeError, ValueError, KeyError, TypeError, struct.error)


class _Array(NamedTuple):
    """Where the file has an array."""

    shape: tuple[int, ...]
    dtype: np.dtype
    offset: int

    @property
    def end(self) -> int:
        return self.offset + self.dtype.itemsize * math.prod(self.shape)


class KerasWeights(Mapping[str, np.ndarray]):
    """A Keras model's weights: "LAYER/NUMBER" -> read-only array, mapped.

    LAYER is the names of the layers from the model down to the weight's own, joined by
    dots: in a model of vit_tf that is timm's name. NUMBER counts the layer's own
    weights. The paths in the file, by which Keras finds them, count classes instead.

    Args:
        path: A `.weights.h5`, or a `.keras` with one in it.

    Raises:
        CorruptCheckpointError: if it is no whole file of that kind.
        UnsafeCheckpointError: if it points to other files.
        UnknownLayoutError: if it was not written by Keras, or holds no numbers.
    """

    def __init__(self, path: str | Path):
        self.path = Path(path)
        self.beside: list[str] = []
        start, size = _place(self.path)
        try:
            with _Slice(self.path, start, size) as file, h5py.File(file, "r") as h5:
                found = list(self._read(h5, ""))
        except CheckpointError:
            raise
        except H5_ERRORS as error:
            raise CorruptCheckpointError(
                f"{self.path}: not a whole HDF5 file ({str(error).splitlines()[0]}); "
                f"found {describe(self.path)}"
            ) from error
        self._start = start
        self._arrays = dict(found)
        if len(found) > len(self._arrays):
            names = [name for name, _ in found]
            twice = {name for name in names if names.count(name) > 1}
            raise CorruptCheckpointError(
                f"{self.path}: several weights named {listing(sorted(twice))} found"
            )
        self._check(size)

    def __getitem__(self, name: str) -> np.ndarray:
        array = self._arrays[name]
        if 0 in array.shape:
            values = np.empty(array.shape, array.dtype)
        else:
            offset = self._start + array.offset
            values = np.memmap(self.path, array.dtype, "r", offset, array.shape)
        return values.view(ml_dtypes.bfloat16) if array.dtype.kind == "V" else values

    def shape(self, name: str) -> tuple[int, ...]:
        return self._arrays[name].shape

    def __iter__(self) -> Iterator[str]:
        return iter(self._arrays)

    def __len__(self) -> int:
        return len(self._arrays)

    def _read(self, group: h5py.Group, layer: str) -> Iterator[tuple[str, _Array]]:
        if "vars" in group:
            _check_links(self.path, group, ["vars"])
            weights = group["vars"]
            layer = self._layer(weights, layer)
            for number in sorted(weights, key=int):
                _check_links(self.path, weights, [number])
                yield f"{layer}/{number}", _array(self.path, weights[number])
        inner = [name for name in group if name != "vars"]
        _check_links(self.path, group, inner)
        for name in inner:
            if name.startswith(BESIDE):
                self.beside.append(f"{group.name}/{name}".lstrip("/"))
            elif isinstance(group[name], h5py.Group):
                yield from self._read(group[name], layer)
            else:
                raise UnknownLayoutError(
                    f"{self.path}: {name!r} found; expected: a file of Keras 3"
                )

    def _layer(self, weights: h5py.Group, above: str) -> str:
        """The name of the layer that has these weights; "" for the model."""
        if weights.name == "/vars":
            return ""
        name = weights.attrs.get("name")
        if not isinstance(name, str) or not name:
            raise UnknownLayoutError(
                f"{self.path}: {weights.name} without a layer's name found; expected: "
                "a file of Keras 3.15 or later"
            )
        return f"{above}.{name}" if above else name

    def _check(self, size: int) -> None:
        others = [n for n, array in self._arrays.items() if not _is_real(array.dtype)]
        if others:
            found = listing(f"{n} ({self._arrays[n].dtype})" for n in others)
            raise UnknownLayoutError(
                f"{self.path}: {found} found; expected: real numbers"
            )
        outside = [n for n, array in self._arrays.items() if array.end > size]
        if outside:
            raise CorruptCheckpointError(
                f"{self.path}: {listing(outside)} beyond the file's end"
            )


class _Slice(io.RawIOBase):
    """A part of a file, as a file."""

    def __init__(self, path: Path, start: int, size: int):
        self._file = path.open("rb")
        self._start, self._size, self._at = start, size, 0

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        base = {io.SEEK_SET: 0, io.SEEK_CUR: self._at, io.SEEK_END: self._size}[whence]
        self._at = base + offset
        return self._at

    def tell(self) -> int:
        return self._at

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def readinto(self, buffer: memoryview) -> int:
        self._file.seek(self._start + self._at)
        wanted = min(len(buffer), max(self._size - self._at, 0))
        data = self._file.read(wanted)
        buffer[: len(data)] = data
        self._at += len(data)
        return len(data)

    def close(self) -> None:
        self._file.close()
        super().close()


def _place(path: Path) -> tuple[int, int]:
    """Where in the file the HDF5 file begins, and its size."""
    found = describe(path)
    if found.startswith("an HDF5"):
        return 0, path.stat().st_size
    if not found.startswith("a Keras"):
        raise CorruptCheckpointError(f"{path}: not a whole Keras file; found {found}")
    members = {member.filename: member for member in checked_members(path)}
    member = members.get(MEMBER)
    if member is None or member.compress_type != zipfile.ZIP_STORED:
        raise UnknownLayoutError(
            f"{path}: {listing(members)} found; expected: {MEMBER}, not compressed"
        )
    return data_offset(path, member), member.file_size


def _check_links(path: Path, group: h5py.Group, names: list[str]) -> None:
    kinds = {name: group.get(name, getlink=True) for name in names}
    if linked := [n for n, kind in kinds.items() if type(kind) is not h5py.HardLink]:
        raise UnsafeCheckpointError(
            f"{path}: {listing(linked)}: links found; expected: the weights themselves"
        )


def _array(path: Path, dataset: h5py.Dataset) -> _Array:
    if dataset.is_virtual or dataset.external or dataset.chunks:
        raise UnsafeCheckpointError(
            f"{path}: {dataset.name}: bytes in other places found; expected: the "
            "weights themselves, in one piece"
        )
    offset = dataset.id.get_offset()
    if offset is None and dataset.size:
        raise UnknownLayoutError(
            f"{path}: {dataset.name}: no bytes found; expected: a file of Keras 3"
        )
    return _Array(dataset.shape, dataset.dtype, offset or 0)


def _is_real(dtype: np.dtype) -> bool:
    return dtype.kind in "biuf" or dtype == np.dtype("V2")
