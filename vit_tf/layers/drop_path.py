"""DropPath: a residual branch left out at random, image by image, while training."""

import keras
import tensorflow as tf


class DropPath(keras.layers.Dropout):
    """Stochastic depth (https://arxiv.org/abs/1603.09382; timm's `layers/drop.py`).

    What is kept is divided by the probability of being kept.

    Args:
        rate: The probability that an image's branch is dropped.
    """

    def build(self, input_shape):
        self.noise_shape = (None,) + (1,) * (len(input_shape) - 1)

    def call(self, x: tf.Tensor, training: bool = False) -> tf.Tensor:
        return super().call(x, training=training)


def drop_path_rates(drop_path_rate: float, depth: int) -> list[float]:
    """One rate for each block, from 0 up to `drop_path_rate`, as timm spaces them."""
    return [drop_path_rate * i / max(depth - 1, 1) for i in range(depth)]
