"""What Keras itself saves of a model: `.keras` and `.weights.h5`."""

from pathlib import Path

import keras
import numpy as np
import tensorflow as tf
from ml_collections import ConfigDict

from vit_tf import keras_file, models
from vit_tf.export.bundle import described
from vit_tf.export.saved_model import run
from vit_tf.layers.initializers import skip_init


def write_model(model: keras.Model, path: Path) -> None:
    model.save(path)


def run_model(path: Path, images: np.ndarray) -> np.ndarray:
    """What the model in a `.keras` gives for (B, H, W, C) float32 images."""
    model = keras.models.load_model(path)
    return run(model, model, tf.constant(images)).numpy()


def write_weights(model: keras.Model, path: Path) -> None:
    model.save_weights(path)


def run_weights(path: Path, images: np.ndarray) -> np.ndarray:
    """What the weights of a `.weights.h5` make of the model of its bundle.

    Keras ignores what a file holds beyond the model, so the names and shapes of both
    are compared first.

    Raises:
        CheckpointError: if it holds other weights than the model has.
    """
    config = ConfigDict(described(path.parent))
    keras_file.read_tensors(path, config)
    with skip_init():
        model = models.build(config, dtype=config.dtype)
    model.load_weights(path)
    return run(model, model, tf.constant(images)).numpy()
