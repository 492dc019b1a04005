"""PyTorch's own files: .pth, .pt and .bin."""

import pickle
import re
import warnings
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import ml_dtypes
import numpy as np

from vit_tf.checkpoints.errors import (
    ZIP_ERRORS,
    CorruptCheckpointError,
    UnknownLayoutError,
    UnsafeCheckpointError,
    describe,
    listing,
)

if TYPE_CHECKING:
    import torch

WRAPPERS = ("state_dict", "model")  # where timm's and DeiT's training scripts put it
# What training scripts keep beside the weights. It is not built, only passed over.
IGNORED = (
    "argparse.Namespace",
    "numpy.dtype",
    "numpy._core.multiarray.scalar",
    "numpy.core.multiarray.scalar",
)
PICKLE_4 = ("operand 147", "operand 149")  # only Python itself pickles so


def read_torch_file(path: str | Path) -> dict[str, np.ndarray]:
    """The tensors of a state dict, without running anything that the file contains.

    Args:
        path: A file written by `torch.save`: a state dict, or a dict that holds one
            under "state_dict" or "model".

    Returns:
        name -> array; views of the mapped file where its format allows it.

    Raises:
        UnsafeCheckpointError: if the pickle asks for more than weights.
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

    found = describe(path)
    zipped = found.startswith("a PyTorch file")
    if not zipped and "pickle" not in found:
        raise CorruptCheckpointError(f"{path}: not a whole PyTorch file; found {found}")
    if zipped:
        _check_sums(path)
    ignored = [(_Ignored, name) for name in IGNORED]
    try:
        with torch.serialization.safe_globals(ignored), warnings.catch_warnings():
            warnings.simplefilter("ignore")  # on other pickles, before it fails
            return torch.load(path, map_location="cpu", weights_only=True, mmap=zipped)
    except MemoryError:
        raise
    except Exception as error:  # damaged bytes may raise anything there
        reason = (str(error) or type(error).__name__).splitlines()[0]
        if isinstance(error, pickle.UnpicklingError):
            _check_safe(path, str(error), error)
            reason = "its pickle is damaged"
        raise CorruptCheckpointError(
            f"{path}: not a whole PyTorch file ({reason}); found {found}"
        ) from error


class _Ignored:
    """In the place of an object that is passed over."""

    def __init__(self, *args: Any):
        pass

    def __setstate__(self, state: Any) -> None:
        pass


def _check_safe(path: Path, reason: str, error: Exception) -> None:
    named = re.search(r"GLOBAL ([\w.]+)", reason)
    if named or any(operand in reason for operand in PICKLE_4):
        what = f"asks for {named[1]}" if named else "is a plain Python pickle"
        raise UnsafeCheckpointError(
            f"{path}: {what}, and nothing of it was run; expected: tensors only, as "
            "written by torch.save(model.state_dict(), ...)"
        ) from error


def _check_sums(path: Path) -> None:
    """torch does not: a flipped bit would load as another weight."""
    try:
        with zipfile.ZipFile(path) as archive:
            damaged = archive.testzip()
    except ZIP_ERRORS as error:
        raise CorruptCheckpointError(f"{path}: damaged ({error})") from error
    if damaged:
        raise CorruptCheckpointError(
            f"{path}: damaged since it was written: the checksum of {damaged} differs"
        )


def _arrays(path: Path, content: Any) -> dict[str, np.ndarray]:
    import torch

    expected = (
        "expected: a state dict, tensors by name, or one under "
        f"{' or '.join(map(repr, WRAPPERS))}"
    )
    if not isinstance(content, Mapping):
        kind = type(content).__name__
        raise UnknownLayoutError(f"{path}: a {kind} found; {expected}")
    others = [
        f"{key!r} ({type(value).__name__})"
        for key, value in content.items()
        if not (isinstance(key, str) and isinstance(value, torch.Tensor))
    ]
    if others or not content:
        found = listing(others) or "an empty dict"
        raise UnknownLayoutError(f"{path}: {found} found; {expected}")
    arrays = {name: _array(tensor.detach()) for name, tensor in content.items()}
    if unusable := [name for name, array in arrays.items() if array is None]:
        found = listing(f"{n} ({_kind(content[n])})" for n in unusable)
        raise UnknownLayoutError(f"{path}: {found} found; expected: dense real tensors")
    return arrays


def _array(tensor: "torch.Tensor") -> np.ndarray | None:
    """The tensor's memory as an array; None where it is not one of real numbers."""
    import torch

    if tensor.is_complex():
        return None
    if tensor.dtype == torch.bfloat16:  # NumPy has no such type of its own
        return tensor.view(torch.int16).numpy().view(ml_dtypes.bfloat16)
    try:
        return tensor.numpy()
    except (TypeError, RuntimeError):  # sparse, quantized, 8-bit float, without memory
        return None


def _kind(tensor: "torch.Tensor") -> str:
    words = (tensor.dtype, tensor.layout, tensor.device)
    return ", ".join(str(word).removeprefix("torch.") for word in words)
