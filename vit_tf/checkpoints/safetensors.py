"""Safetensors files, mapped into memory."""

import json
from collections.abc import Iterator, Mapping
from pathlib import Path

import ml_dtypes
import numpy as np
import safetensors

from vit_tf.checkpoints.errors import CorruptCheckpointError, describe

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
    """

    def __init__(self, path: str | Path):
        self.path = Path(path)
        try:
            with safetensors.safe_open(self.path, framework="np"):
                pass  # checks the header, the offsets and the file's length
        except safetensors.SafetensorError as error:
            raise CorruptCheckpointError(
                f"{self.path}: not a whole safetensors file ({error}); found "
                f"{describe(self.path)}"
            ) from error
        with self.path.open("rb") as file:
            length = int.from_bytes(file.read(8), "little")
            self._header = json.loads(file.read(length))
        self._header.pop("__metadata__", None)
        self._start = 8 + length
        if unknown := {t["dtype"] for t in self._header.values()} - DTYPES.keys():
            raise CorruptCheckpointError(
                f"{self.path}: tensors of type {sorted(unknown)} found, "
                f"{sorted(DTYPES)} expected"
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
