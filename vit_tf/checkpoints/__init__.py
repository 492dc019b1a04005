"""Checkpoints as tensors by name, whatever file they come in."""

from collections.abc import Mapping
from pathlib import Path

import numpy as np

from vit_tf.checkpoints.contents import Contents
from vit_tf.checkpoints.errors import CheckpointError
from vit_tf.checkpoints.fetch import fetch
from vit_tf.checkpoints.files import read_file
from vit_tf.checkpoints.local_dir import config_beside, weights_file
from vit_tf.checkpoints.prefixes import unwrap

__all__ = [
    "CheckpointError", "Contents", "Tensors", "check_finite", "fetch", "locate",
    "open_checkpoint", "read",
]  # fmt: skip

Tensors = Mapping[str, np.ndarray]  # a whole checkpoint: timm name -> array


def open_checkpoint(uri: str | Path, checkpoint_key: str = "") -> Contents:
    """What a checkpoint holds; its tensors are read when they are asked for.

    Args:
        uri: A .safetensors, .npz, .pth, .pt, .bin or .ckpt file; the index of a sharded
            one; a folder of timm or transformers; or what `fetch` gets.
        checkpoint_key: Which of several models in it is meant: an entry of a training
            script's file ("model", "teacher"), or what is before the names. "" is for
            the only one, or the one that timm takes; the others are in the result.

    Raises:
        CheckpointError: if there is nothing there, it cannot be read safely, or it is
            not clear which of several models is meant.
    """
    path = locate(uri)
    choice = read_file(path, checkpoint_key)
    keys = [key for key in (choice.key, *choice.alternatives) if key]
    unwrapped = unwrap(path, choice.tensors, choice.asked, keys)
    return Contents(
        path,
        unwrapped.tensors,
        config_beside(path),
        choice.key,
        unwrapped.prefix,
        choice.beside + unwrapped.beside,
        choice.alternatives,
    )


def read(uri: str | Path) -> Tensors:
    """The tensors of a checkpoint: `open_checkpoint` for what needs no more.

    Raises:
        CheckpointError: as `open_checkpoint`.
    """
    return open_checkpoint(uri).tensors


def locate(uri: str | Path) -> Path:
    """The file that holds the weights, on this machine; in a folder, the one in it.

    Raises:
        CheckpointError: if there is none, or it cannot be had.
    """
    path = fetch(uri)
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
