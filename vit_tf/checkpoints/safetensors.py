"""Safetensors files, mapped into memory."""

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import ml_dtypes
import numpy as np
import safetensors

from vit_tf.checkpoints.errors import (
    CorruptCheckpointError,
    UnknownLayoutError,
    describe,
    listing,
)

DTYPES = {
    "F64": np.float64, "F32": np.float32, "F16": np.float16,
    "BF16": ml_dtypes.bfloat16, "I64": np.int64, "I32": np.int32, "U8": np.uint8,
    "BOOL": np.bool_,
}  # fmt: skip


class SafetensorsFile(Mapping[str, np.ndarray]):
    """The tensors of a file: name -> read-only array.

    An array is a view of the file, mapped when it is asked for and unmapped when it is
    let go: reading costs no memory, and what has been used can be forgotten.

    Raises:
        CorruptCheckpointError: if the file is not a whole safetensors file.
        UnknownLayoutError: if it holds numbers of a kind that NumPy has not.
    """

    def __init__(self, path: str | Path):
        self.path = Path(path)
        try:
            with safetensors.safe_open(self.path, framework="np"):
                pass  # checks the header, the offsets and the file's length
        except safetensors.SafetensorError as error:
            raise CorruptCheckpointError(
                f"{self.path}: not a whole safetensors file{_why(self.path, error)}; "
                f"found {describe(self.path)}"
            ) from error
        self._header, self._start = _header(self.path)
        if unknown := {k: t["dtype"] for k, t in self._header.items()
                       if t["dtype"] not in DTYPES}:  # fmt: skip
            found = listing(f"{name} ({dtype})" for name, dtype in unknown.items())
            raise UnknownLayoutError(
                f"{self.path}: {found} found; expected: tensors of {', '.join(DTYPES)}"
            )

    def __getitem__(self, name: str) -> np.ndarray:
        tensor = self._header[name]
        dtype, shape = DTYPES[tensor["dtype"]], tuple(tensor["shape"])
        if 0 in shape:
            return np.empty(shape, dtype)
        offset = self._start + tensor["data_offsets"][0]
        return np.memmap(self.path, dtype, mode="r", offset=offset, shape=shape)

    def __iter__(self) -> Iterator[str]:
        return iter(self._header)

    def __len__(self) -> int:
        return len(self._header)


def _header(path: Path) -> tuple[dict[str, Any], int]:
    """What the file says of each tensor, and where their bytes begin."""
    with path.open("rb") as file:
        length = int.from_bytes(file.read(8), "little")
        header = json.loads(file.read(length))
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
        TypeError,
    ):
        return f" ({reason})"
    return f" ({reason}; {size:,} bytes expected)"
