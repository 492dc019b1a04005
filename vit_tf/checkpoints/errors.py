"""What can be wrong with a checkpoint."""

import struct
import zipfile
import zlib
from collections.abc import Iterable
from pathlib import Path

# What reading a damaged zip archive raises.
ZIP_ERRORS = (
    zipfile.BadZipFile, EOFError, NotImplementedError, OSError, RuntimeError,
    ValueError, struct.error, zlib.error,
)  # fmt: skip


class CheckpointError(ValueError):
    """A checkpoint cannot be used. The message says what was found and expected."""


class CorruptCheckpointError(CheckpointError):
    """The file is truncated, damaged or of another kind than its name says."""


class UnsafeCheckpointError(CheckpointError):
    """The file asks to run code. None of it was run."""


class TooLargeCheckpointError(CheckpointError):
    """The file claims more memory than a file of its size is given here."""


class DownloadError(CheckpointError):
    """A remote file cannot be had, or what came is not what was announced."""


class UnknownLayoutError(CheckpointError):
    """The file can be read, but does not hold named tensors where they are expected."""


def listing(names: Iterable[str], limit: int = 8) -> str:
    """The first names, for a message."""
    names = list(names)
    return ", ".join(names[:limit]) + (", ..." if names[limit:] else "")


def describe(path: Path) -> str:
    """What a file looks like from its first bytes, for a message about a bad one."""
    size = path.stat().st_size
    if not size:
        return "an empty file"
    with path.open("rb") as file:
        head = file.read(512)
    signatures = {
        b"version https://git-lfs": "a Git LFS pointer, not the file it stands for",
        b"PK\x03\x04": _zip_archive(path),
        b"\x89HDF": "an HDF5 file (.h5)",
        b"\x89PNG": "a PNG image",
        b"\x80": "a Python pickle",
        b"\x93NUMPY": "a NumPy array (.npy)",
    }
    for signature, meaning in signatures.items():
        if head.startswith(signature):
            return f"{meaning}, {size:,} bytes"
    if head.lstrip()[:1] == b"<":
        return f"an HTML or XML page, {size:,} bytes"
    if head[8:9] == b"{":
        return f"a safetensors file, {size:,} bytes"
    return f"{size:,} bytes that begin with {head[:8]!r}"


def _zip_archive(path: Path) -> str:
    try:
        with zipfile.ZipFile(path) as archive:
            names = archive.namelist()
    except ZIP_ERRORS:
        return "a zip archive that is cut off or damaged"
    kinds = {
        ".npy": "NumPy arrays (.npz)",
        "model.weights.h5": "a Keras model (.keras)",
        "/constants.pkl": "a TorchScript archive",
        "/data.pkl": "a PyTorch file (.pth)",
    }
    for ending, kind in kinds.items():
        if any(name.endswith(ending) for name in names):
            return kind
    return "a zip archive"
