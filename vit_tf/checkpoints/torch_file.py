"""PyTorch's own files: .pth, .pt, .bin and .ckpt."""

import dataclasses
import pickle
import re
import warnings
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import ml_dtypes
import numpy as np

from vit_tf.checkpoints.archive import checked_members
from vit_tf.checkpoints.errors import (
    ZIP_ERRORS,
    CorruptCheckpointError,
    TooLargeCheckpointError,
    UnknownLayoutError,
    UnsafeCheckpointError,
    describe,
    listing,
)
from vit_tf.checkpoints.keys import PREFERRED, Choice, choose
from vit_tf.checkpoints.pickles import check_pickle

if TYPE_CHECKING:
    import torch

# What training scripts keep beside the weights. It is not built, only passed over.
IGNORED = (
    "argparse.Namespace",
    "builtins.dict",
    "builtins.float",
    "builtins.int",
    "builtins.list",
    "pathlib.PosixPath",
    "pathlib.WindowsPath",
    "numpy.dtype",
    "numpy.ndarray",
    "numpy._core.multiarray.scalar",
    "numpy._core.multiarray._reconstruct",
    "numpy.core.multiarray.scalar",
    "numpy.core.multiarray._reconstruct",
)
# And what is a dict of its own kind: it is built as a plain one.
DICTS = (
    "collections.defaultdict",
    "lightning.fabric.utilities.data.AttributeDict",
    "lightning_fabric.utilities.data.AttributeDict",
    "pytorch_lightning.utilities.parsing.AttributeDict",
)
SHARED = 4  # times that a file's bytes may be used: tied weights share theirs
LEGACY_PICKLES = 4  # before its numbers: magic number, version, platform, content
PICKLE_4 = ("operand 147", "operand 149")  # only Python itself pickles so


def read_torch_file(path: str | Path, asked: str = "") -> Choice:
    """The tensors of a state dict, without running anything that the file contains.

    Args:
        path: A file written by `torch.save`: a state dict, or a dict that holds one.
        asked: The key of the one to take; "" for the one that timm would.

    Returns:
        name -> array, views of the mapped file where its format allows it; where it
        was found, and what else there is.

    Raises:
        UnsafeCheckpointError: if the pickle asks for more than weights.
        CorruptCheckpointError: if the file is not a whole one of torch's.
        TooLargeCheckpointError: if its tensors claim more memory than it has bytes.
        UnknownLayoutError: if there is no state dict, or it is not clear which.
    """
    import torch

    path = Path(path)
    content = _load(path)
    choice = choose(path, content, asked, lambda v: isinstance(v, torch.Tensor))
    return dataclasses.replace(choice, tensors=_arrays(path, choice.tensors))


def _load(path: Path) -> Any:
    import torch

    found = describe(path)
    zipped = found.startswith("a PyTorch file")
    if not zipped and "pickle" not in found:
        raise CorruptCheckpointError(f"{path}: not a whole PyTorch file; found {found}")
    if zipped:
        _check_stored(path)
    _check_pickles(path, found)
    ignored = [(_Ignored, name) for name in IGNORED]
    ignored += [(_PlainDict, name) for name in DICTS]
    try:
        with torch.serialization.safe_globals(ignored), warnings.catch_warnings():
            warnings.simplefilter("ignore")  # on other pickles, before it fails
            return torch.load(path, map_location="cpu", weights_only=True, mmap=zipped)
    except MemoryError as error:
        raise TooLargeCheckpointError(
            f"{path}: asks for more memory than there is; found {found}"
        ) from error
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


class _PlainDict:
    """In the place of a kind of dict: what is made of it is empty, and a dict."""

    def __new__(cls, *args: Any) -> dict:
        return {}


def _check_safe(path: Path, reason: str, error: Exception) -> None:
    named = re.search(r"GLOBAL ([\w.]+)", reason)
    if named or any(operand in reason for operand in PICKLE_4):
        what = f"asks for {named[1]}" if named else "is a plain Python pickle"
        raise UnsafeCheckpointError(
            f"{path}: {what}, and nothing of it was run; expected: tensors only, as "
            "written by torch.save(model.state_dict(), ...)"
        ) from error


def _check_pickles(path: Path, found: str) -> None:
    try:
        if found.startswith("a PyTorch file"):
            with zipfile.ZipFile(path) as archive:
                name = next(n for n in archive.namelist() if n.endswith("/data.pkl"))
                with archive.open(name) as file:
                    check_pickle(file, str(path))
        else:
            with path.open("rb") as file:
                for _ in range(LEGACY_PICKLES):
                    check_pickle(file, str(path))
                    if not file.peek(1):
                        break  # a plain pickle
    except TooLargeCheckpointError:
        raise
    except (*ZIP_ERRORS, MemoryError, OverflowError) as error:
        raise CorruptCheckpointError(
            f"{path}: not a whole PyTorch file (its pickle is damaged: {error}); "
            f"found {found}"
        ) from error


def _check_stored(path: Path) -> None:
    """torch maps what is in the archive, and would take compressed bytes for weights.

    Nor does it check sums: a flipped bit would load as another weight.
    """
    compressed = [
        member.filename
        for member in checked_members(path)
        if member.compress_type != zipfile.ZIP_STORED
    ]
    if compressed:
        raise CorruptCheckpointError(
            f"{path}: {listing(compressed)} compressed; expected: stored as they are, "
            "as torch.save does"
        )


def _arrays(path: Path, content: Any) -> dict[str, np.ndarray]:
    import torch

    expected = (
        "expected: a state dict, tensors by name, or one under "
        f"{', '.join(map(repr, PREFERRED))}"
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
    _check_claims(path, arrays)
    return arrays


def _check_claims(path: Path, arrays: Mapping[str, np.ndarray]) -> None:
    """A tensor may be one number, repeated a million million times by its strides."""
    size, claimed = path.stat().st_size, sum(a.nbytes for a in arrays.values())
    if claimed > SHARED * size:
        raise TooLargeCheckpointError(
            f"{path}: tensors of {claimed:,} bytes found in a file of {size:,}; "
            f"expected: at most {SHARED} times as many, where they share memory"
        )


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
