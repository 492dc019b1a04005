"""PyTorch's own files: .pth, .pt and .bin."""

import pickle
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from vit_tf.checkpoints.errors import (
    CorruptCheckpointError,
    UnknownLayoutError,
    UnsafeCheckpointError,
    describe,
)

WRAPPERS = ("state_dict", "model")  # where timm's and DeiT's training scripts put it


def read_torch_file(path: str | Path) -> dict[str, np.ndarray]:
    """The tensors of a state dict, without running anything that the file contains.

    Args:
        path: A file written by `torch.save`: a state dict, or a dict that holds one
            under "state_dict" or "model".

    Returns:
        name -> array; views of the mapped file where its format allows it.

    Raises:
        UnsafeCheckpointError: if the pickle holds more than weights.
        CorruptCheckpointError: if the file is not a whole one of torch's.
        UnknownLayoutError: if there is no state dict where it is looked for.
    """
    path = Path(path)
    content = _load(path)
    if isinstance(content, Mapping):
        for wrapper in WRAPPERS:
            if isinstance(content.get(wrapper), Mapping):
                content = content[wrapper]
                break
    return _arrays(path, content)


def _load(path: Path) -> Any:
    import torch
    from torch.serialization import _is_zipfile

    try:
        with path.open("rb") as file:
            mappable = _is_zipfile(file)
        return torch.load(path, map_location="cpu", weights_only=True, mmap=mappable)
    except pickle.UnpicklingError as error:
        found = describe(path)
        if "pickle" not in found and "zip" not in found:
            raise CorruptCheckpointError(
                f"{path}: not a PyTorch file; found {found}"
            ) from error
        reason = str(error).partition("Please file an issue")[0].split("\n")
        reason = next((line for line in reason if "Unsupported" in line), reason[0])
        raise UnsafeCheckpointError(
            f"{path}: holds more than weights, and nothing of it was run: "
            f"{reason.strip()}"
        ) from error
    except (OSError, EOFError, RuntimeError, ValueError, KeyError) as error:
        if isinstance(error, FileNotFoundError):
            raise
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise CorruptCheckpointError(
            f"{path}: not a whole PyTorch file ({reason}); found {describe(path)}"
        ) from error


def _arrays(path: Path, content: Any) -> dict[str, np.ndarray]:
    import torch

    expected = "expected: a state dict, tensors by name"
    if not isinstance(content, Mapping):
        found = type(content).__name__
        raise UnknownLayoutError(f"{path}: a {found} found; {expected}")
    others = [key for key, v in content.items() if not isinstance(v, torch.Tensor)]
    if others or not content:
        raise UnknownLayoutError(
            f"{path}: under its keys {sorted(map(str, content))[:8]} are no tensors "
            f"({len(others)} of {len(content)} are something else); {expected}, or one "
            f"under {' or '.join(WRAPPERS)}"
        )
    return {key: _array(tensor.detach()) for key, tensor in content.items()}


def _array(tensor: Any) -> np.ndarray:
    import ml_dtypes
    import torch

    if tensor.dtype == torch.bfloat16:  # NumPy has no such type of its own
        return tensor.view(torch.int16).numpy().view(ml_dtypes.bfloat16)
    return tensor.numpy()
