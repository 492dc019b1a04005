"""Safetensors files, mapped into memory."""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import ml_dtypes
import numpy as np
import safetensors

from vit_tf.checkpoints.errors import (
    CorruptCheckpointError,
    TooLargeCheckpointError,
    UnknownLayoutError,
    describe,
    listing,
)
from vit_tf.checkpoints.json_file import parse_json

HEADER_LIMIT = 16 << 20  # bytes: a hundred state a tensor
DTYPES = {
    "F64": np.float64, "F32": np.float32, "F16": np.float16,
    "BF16": ml_dtypes.bfloat16, "I64": np.int64, "I32": np.int32, "I16": np.int16,
    "I8": np.int8, "U64": np.uint64, "U32": np.uint32, "U16": np.uint16,
    "U8": np.uint8, "BOOL": np.bool_,
}  # fmt: skip


class SafetensorsFile(Mapping[str, np.ndarray]):
    """The tensors of a file: name -> read-only array.

    An array is a view of the file, mapped when it is asked for and unmapped when it is
    let go: reading costs no memory, and what has been used can be forgotten.

    Raises:
        CorruptCheckpointError: if the file is not a whole safetensors file, or states
            a tensor twice.
        TooLargeCheckpointError: if its header is larger than any model's.
        UnknownLayoutError: if it holds numbers of a kind that NumPy has not.
    """

    def __init__(self, path: str | Path):
        self.path = Path(path)
        _check_length(self.path)
        try:
            with safetensors.safe_open(self.path, framework="np"):
                pass  # checks the header, the offsets and the file's length
        except safetensors.SafetensorError as error:
            raise CorruptCheckpointError(
                f"{self.path}: not a whole safetensors file{_why(self.path, error)}; "
                f"found {describe(self.path)}"
            ) from error
        try:
            self._header, self._start = _header(self.path)
        except ValueError as error:  # what the reader accepts: a name stated twice
            raise CorruptCheckpointError(f"{self.path}: {error}") from error
        if unknown := {k: t["dtype"] for k, t in self._header.items()
                       if t["dtype"] not in DTYPES}:  # fmt: skip
            found = listing(f"{name} ({dtype})" for name, dtype in unknown.items())
            raise UnknownLayoutError(
                f"{self.path}: {found} found; expected: tensors of {', '.join(DTYPES)}"
            )

        self._check_shapes()

    def __getitem__(self, name: str) -> np.ndarray:
        tensor = self._header[name]
        dtype, shape = DTYPES[tensor["dtype"]], tuple(tensor["shape"])
        if 0 in shape:
            return np.empty(shape, dtype)
        offset = self._start + tensor["data_offsets"][0]
        return np.memmap(self.path, dtype, mode="r", offset=offset, shape=shape)

    def _check_shapes(self) -> None:
        """NumPy has bounds that the format has not."""
        for name, tensor in self._header.items():
            try:
                np.broadcast_to(np.zeros((), np.int8), tensor["shape"])
            except ValueError as error:
                raise CorruptCheckpointError(f"{self.path}: {name}: {error}") from error

    def __iter__(self) -> Iterator[str]:
        return iter(self._header)

    def __len__(self) -> int:
        return len(self._header)


def _check_length(path: Path) -> None:
    """The reader would take a hundred megabytes of JSON."""
    with path.open("rb") as file:
        length = int.from_bytes(file.read(8), "little")
    if HEADER_LIMIT < length <= path.stat().st_size:
        raise TooLargeCheckpointError(
            f"{path}: a header of {length:,} bytes found, at most {HEADER_LIMIT:,} "
            "expected"
        )


def _header(path: Path) -> tuple[dict[str, Any], int]:
    """What the file says of each tensor, and where their bytes begin.

    Raises:
        ValueError, RecursionError: if it is not JSON, or states a tensor twice.
    """
    with path.open("rb") as file:
        length = int.from_bytes(file.read(8), "little")
        header = parse_json(file.read(min(length, HEADER_LIMIT)))
    header.pop("__metadata__", None)
    return header, 8 + length


def _why(path: Path, error: Exception) -> str:
    """The reader's reason; of a file that is cut off, how long it should be."""
    if not describe(path).startswith("a safetensors"):
        return ""
    reason = str(error).removeprefix("Error while deserializing header: ")
    try:
        header, start = _header(path)
        size = start + max(tensor["data_offsets"][1] for tensor in header.values())
    except (
        ValueError,
        MemoryError,
        OverflowError,
        AttributeError,
        LookupError,
        RecursionError,
        TypeError,
    ):
        return f" ({reason})"
    return f" ({reason}; {size:,} bytes expected)"
