"""Checkpoints as timm's tensors by name, whatever file they come in."""

from collections.abc import Mapping
from pathlib import Path

import numpy as np

from vit_tf.checkpoints.errors import CheckpointError, UnknownLayoutError, describe
from vit_tf.checkpoints.local_dir import weights_file
from vit_tf.checkpoints.safetensors import SafetensorsFile
from vit_tf.checkpoints.torch_file import read_torch_file

Tensors = Mapping[str, np.ndarray]  # a whole checkpoint: timm name -> array

READERS = {
    ".safetensors": SafetensorsFile,
    ".pth": read_torch_file,
    ".pt": read_torch_file,
    ".bin": read_torch_file,
}


def read(path: str | Path) -> Tensors:
    """The tensors of a file, or of a timm local directory.

    Args:
        path: A .safetensors, .pth, .pt or .bin file, or a folder that holds timm's
            config.json beside one.

    Raises:
        CheckpointError: if there is nothing there, or it cannot be read safely.
    """
    path = locate(path)
    if path.suffix not in READERS:
        raise UnknownLayoutError(
            f"{path}: {describe(path)} found; expected: a file that ends in "
            f"{', '.join(READERS)}, or a timm local directory"
        )
    tensors = READERS[path.suffix](path)
    if not tensors:
        raise UnknownLayoutError(
            f"{path}: no tensors found; expected: a model's weights"
        )
    return tensors


def locate(path: str | Path) -> Path:
    """The file that holds the weights: `path` itself, or inside the folder `path`.

    Raises:
        CheckpointError: if there is none.
    """
    path = Path(path)
    if not path.exists():
        raise CheckpointError(f"{path}: no such file or folder; expected: a checkpoint")
    return weights_file(path) if path.is_dir() else path


def check_finite(tensors: Tensors, uri: str) -> None:
    """
    Raises:
        CheckpointError: if a value is NaN or infinite, naming all such tensors.
    """
    counts = {name: _not_finite(tensors[name]) for name in tensors}
    if bad := {name: count for name, count in counts.items() if count}:
        listed = "\n".join(
            f"   {name}: {count:,} values" for name, count in bad.items()
        )
        raise CheckpointError(
            f"{uri}: NaN or infinity in {len(bad)} of {len(tensors)} tensors, finite "
            f"numbers expected:\n{listed}"
        )


def _not_finite(tensor: np.ndarray) -> int:
    if tensor.dtype.kind in "iub":
        return 0
    return int(tensor.size - np.count_nonzero(np.isfinite(tensor)))
