"""A converter in a process of its own, which ends with this one.

What it imports, sets and counts stays there.
"""

import contextlib
import importlib.util
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

from vit_tf.export.formats import while_parent_lives
from vit_tf.export.staging import NO_ROOM

LARGEST = 2**31  # bytes of weights: these converters hold a graph in one protobuf

_ENVIRONMENT = {
    "PYTHONHASHSEED": "0",  # converters number what they find in sets
    "TF_CPP_MIN_LOG_LEVEL": "3",
    # With oneDNN, TensorFlow fuses what the formats have no name for, e.g. an exact
    # GELU with the product before it.
    "TF_ENABLE_ONEDNN_OPTS": "0",
    "CUDA_VISIBLE_DEVICES": "-1",  # a GPU's memory is this process's
}


def check_installed(package: str, install: str) -> None:
    """That a package can be imported.

    Raises:
        ImportError: if not, with what installs it.
    """
    if importlib.util.find_spec(package) is None:
        raise ImportError(f"{package} is not installed: {install}", name=package)


def convert(name: str, command: list[str], saved_model: Path, path: Path) -> None:
    """Runs a Python command that makes `path` of `saved_model`, or nothing.

    Args:
        name: The converter's, for errors.
        command: Arguments of the Python interpreter.
        saved_model: The SavedModel.
        path: The file or folder that the command writes.

    Raises:
        OSError: if there is no room for it.
        ValueError: if the model is too large for a converter, or refused by this one;
            with the last line of what it said.
    """
    variables = (saved_model / "variables").iterdir()
    size = sum(file.stat().st_size for file in variables)
    if size >= LARGEST:
        raise ValueError(
            f"{name}: {size} bytes of weights found, less than {LARGEST} expected: "
            "the converter holds them in one protobuf"
        )
    runner = while_parent_lives.__file__
    with _open_while_this_lives() as stdin:
        done = subprocess.run(
            # -P: what lies beside is not imported
            [sys.executable, "-P", runner, *command],
            env=os.environ | _ENVIRONMENT,
            stdin=stdin,
            capture_output=True,
            text=True,
            errors="replace",
        )
    if done.returncode:
        if path.is_dir():
            shutil.rmtree(path)
        else:
            path.unlink(missing_ok=True)
        for code in NO_ROOM:
            if os.strerror(code) in done.stderr:
                raise OSError(code, os.strerror(code), str(path))
        said = done.stderr.strip().splitlines() or [f"exit code {done.returncode}"]
        raise ValueError(f"{name} cannot convert this model: {said[-1]}")


@contextlib.contextmanager
def _open_while_this_lives() -> Iterator[int]:
    """The end of a pipe for reading, whose other end this process alone has."""
    given, kept = os.pipe()
    try:
        yield given
    finally:
        os.close(given)
        os.close(kept)
