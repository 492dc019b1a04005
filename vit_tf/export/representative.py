"""Real images, by which an integer model's ranges are set."""

from pathlib import Path

import numpy as np
import tensorflow as tf

from vit_tf.preprocessing import DataConfig, transform

SUFFIXES = (".bmp", ".jpeg", ".jpg", ".png", ".webp")


def image_files(folder: str | Path, count: int) -> list[Path]:
    """At most `count` of the image files below a folder.

    Those are spread evenly over all of them in the order of their paths, the first and
    the last among them: the same each time, and of all the folders' parts.

    Raises:
        ValueError: if it is no folder, or has no images.
    """
    folder = Path(folder)
    if not folder.is_dir():
        raise ValueError(f"config.export.representative={folder}: no such folder")
    files = [path for path in folder.rglob("*") if path.suffix.lower() in SUFFIXES]
    files = sorted(path for path in files if path.is_file())
    if not files:
        raise ValueError(
            f"config.export.representative={folder}: no images found; expected: files "
            f"that end in {', '.join(SUFFIXES)}"
        )
    chosen = np.linspace(0, len(files) - 1, min(count, len(files)))
    return [files[int(number)] for number in np.round(chosen)]


def read_images(files: list[Path], data: DataConfig) -> np.ndarray:
    """(N, height, width, channels) float32: files as the model takes them.

    Raises:
        ValueError: naming the files that cannot be read.
    """
    images, problems = [], []
    for file in files:
        try:
            images.append(transform(tf.constant(file.read_bytes()), data).numpy())
        except tf.errors.InvalidArgumentError as error:
            problems.append(f"{file}: {error.message.partition('! Op')[0]}")
    if problems:
        raise ValueError("; ".join(problems))
    return np.stack(images)
