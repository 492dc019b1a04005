"""scikit-learn's digits as files, in class folders."""

from pathlib import Path

import numpy as np
from PIL import Image
from sklearn.datasets import load_digits


def write_digits(folder: Path, *, count: int, classes: int = 10) -> None:
    """The first `count` digits below `classes`, as FOLDER/DIGIT/NUMBER.png."""
    digits = load_digits()
    chosen = np.flatnonzero(digits.target < classes)[:count]
    for number in chosen:
        place = folder / str(digits.target[number])
        place.mkdir(parents=True, exist_ok=True)
        pixels = np.round(digits.images[number] * (255 / 16)).astype(np.uint8)
        Image.fromarray(pixels).save(place / f"{number:04}.png")
