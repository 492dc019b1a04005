"""Tensors written as a safetensors file."""

from collections.abc import Mapping
from pathlib import Path

import ml_dtypes  # noqa: F401 - teaches NumPy bfloat16
import numpy as np
import safetensors.numpy

from vit_tf.checkpoints.errors import CheckpointError
from vit_tf.checkpoints.safetensors import SafetensorsFile


def write_safetensors(tensors: Mapping[str, np.ndarray], path: Path) -> None:
    """Writes a file, as torch's safetensors do, and reads it back.

    Args:
        tensors: name -> array.
        path: The file.

    Raises:
        CheckpointError: if what is read back is not, bit for bit, what was written.
    """
    # the library writes the memory as it lies, also that of a transposed view
    whole = {name: np.ascontiguousarray(tensor) for name, tensor in tensors.items()}
    safetensors.numpy.save_file(whole, path, metadata={"format": "pt"})
    written = SafetensorsFile(path)
    if wrong := [
        n for n in whole if n not in written or not _same(written[n], whole[n])
    ]:
        raise CheckpointError(f"{path}: read back otherwise than written: {wrong}")


def _same(a: np.ndarray, b: np.ndarray) -> bool:
    return a.dtype == b.dtype and a.shape == b.shape and a.tobytes() == b.tobytes()
