"""Scripts without the notes of the libraries below them."""

import contextlib
import gc
import logging
import os
from collections.abc import Iterator


def import_tensorflow() -> None:
    """Imports TensorFlow; what its compiled code writes to stderr meanwhile is lost.

    No setting silences those lines: they are written before any is read. The import's
    objects, which stay, are taken from the garbage collector, which would go through
    all of them again and again.
    """
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
    gc.disable()
    try:
        with compiled_code():
            import tensorflow  # noqa: F401
    finally:
        gc.freeze()
        gc.enable()


@contextlib.contextmanager
def compiled_code() -> Iterator[None]:
    """Within it, what anything writes to the process's stderr is lost."""
    stderr = os.dup(2)
    with open(os.devnull, "w") as nowhere:
        os.dup2(nowhere.fileno(), 2)
    try:
        yield
    finally:
        os.dup2(stderr, 2)
        os.close(stderr)


def drop_notes() -> None:
    """Drops what TensorFlow and timm note below a warning. Call it behind `app.run`."""
    from absl import logging as absl_logging

    absl_logging.set_verbosity(absl_logging.WARNING)
    logging.getLogger("tensorflow").setLevel(logging.WARNING)
