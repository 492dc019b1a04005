"""Scripts without the notes of the libraries below them."""

import contextlib
import gc
import logging
import os
from collections.abc import Iterator

from vit_tf.imports import hidden, uncollected


def import_tensorflow(*, whole: bool = False) -> None:
    """Imports TensorFlow; what its compiled code writes to stderr meanwhile is lost.

    No setting silences those lines: they are written before any is read. The import's
    objects, which stay, are taken from the garbage collector.

    Args:
        whole: Whether Keras wraps scikit-learn and draws with Matplotlib, if they are
            installed. To import them for that takes a third of the time.
    """
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
    wrapped = () if whole else ("matplotlib", "sklearn")
    with uncollected(), hidden(*wrapped), compiled_code():
        import tensorflow  # noqa: F401
    gc.freeze()


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
