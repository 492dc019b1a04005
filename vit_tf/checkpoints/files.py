"""Which reader a file has."""

from collections.abc import Mapping
from pathlib import Path

import numpy as np

from vit_tf.checkpoints.errors import UnknownLayoutError, describe
from vit_tf.checkpoints.keys import Choice
from vit_tf.checkpoints.npz import NpzFile
from vit_tf.checkpoints.safetensors import SafetensorsFile
from vit_tf.checkpoints.shards import ShardedTensors, is_index
from vit_tf.checkpoints.torch_file import read_torch_file

FLAT = {".safetensors": SafetensorsFile, ".npz": NpzFile}  # tensors by name, no more
TORCH = (".pth", ".pt", ".bin", ".ckpt", ".pth.tar")


def read_file(path: Path, asked: str = "") -> Choice:
    """The tensors of a file, as its own reader gives them.

    Args:
        path: A file, or the index of several.
        asked: The key of the entry to take, where the file has entries.

    Raises:
        CheckpointError: if it cannot be read safely, or holds no tensors.
    """
    if is_index(path):
        choice = Choice(ShardedTensors(path, _shard), asked=asked)
    elif path.suffix in FLAT:
        choice = Choice(FLAT[path.suffix](path), asked=asked)
    elif path.name.endswith(TORCH):
        choice = read_torch_file(path, asked)
    else:
        raise UnknownLayoutError(
            f"{path}: {describe(path)} found; expected: a file that ends in "
            f"{', '.join((*FLAT, *TORCH))}, or a folder of timm or transformers"
        )
    if not choice.tensors:
        raise UnknownLayoutError(
            f"{path}: no tensors found; expected: a model's weights"
        )
    return choice


def _shard(path: Path) -> Mapping[str, np.ndarray]:
    return read_file(path).tensors
