"""The ids of the ILSVRC2012 devkit: its `meta.mat` says which class each one is."""

import struct
import zlib
from pathlib import Path

from i1k_eval.datasets.dataset import DatasetError
from i1k_eval.labels import IMAGENET_CLASSES


def read_ilsvrc_ids(path: Path) -> dict[int, str]:
    """Reads each class's wnid by its ILSVRC id.

    Args:
        path: the devkit's `data/meta.mat`.

    Returns:
        ILSVRC id -> wnid, for the 1000 classes; higher ids are groups of classes.

    Raises:
        DatasetError: if it is not there, or is another file.
        ImportError: if scipy is not installed.
    """
    if not path.is_file():
        raise DatasetError(
            "numbers from 1 to 1000, one a line, are the ids of the ILSVRC devkit, "
            f"which are in another order than classes are: {path.name}, which tells "
            f"it, is expected in {path.parent}"
        )
    try:
        from scipy.io import loadmat
        from scipy.io.matlab import MatReadError
    except ImportError as error:
        raise ImportError(f"{path} needs scipy: pip install scipy") from error
    try:
        synsets = loadmat(path, squeeze_me=True)["synsets"]
        rows = zip(synsets["ILSVRC2012_ID"], synsets["WNID"], strict=True)
        wnids = {int(number): str(wnid) for number, wnid in rows}
    except (
        *(OSError, MatReadError, KeyError, IndexError, TypeError, ValueError),
        *(NotImplementedError, EOFError, struct.error, zlib.error),
    ) as error:
        raise DatasetError(f"{path} is not the devkit's: {error!r}") from error
    return {number: wnids[number] for number in wnids if number <= IMAGENET_CLASSES}
