"""Bytes as numbers that a model was trained on."""

import numpy as np
import tensorflow as tf

from vit_tf.preprocessing.data_config import DataConfig


def normalize(pixels: tf.Tensor, data: DataConfig) -> tf.Tensor:
    """Pixels scaled to 0..1, less the mean, divided by the standard deviation.

    Each step is rounded as in torchvision's `ToTensor` and `Normalize`.

    Args:
        pixels: (H, W, channels) uint8, of a size that is known when this is traced.
        data: How images are transformed.

    Returns:
        (H, W, channels) float32.
    """
    height, width, channels = pixels.shape
    mean, std = (
        tf.constant(np.tile(np.array(values, np.float32), width))
        for values in (data.mean, data.std)
    )
    rows = tf.cast(tf.reshape(pixels, (height, width * channels)), tf.float32)
    # Not `/`: where a divisor is a constant, TensorFlow multiplies by its inverse.
    scaled = tf.math.divide_no_nan(rows, tf.constant(255.0))
    normalized = tf.math.divide_no_nan(scaled - mean, std)
    return tf.reshape(normalized, (height, width, channels))
