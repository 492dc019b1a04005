"""What stands where another model has a layer."""

from typing import Any

import keras
import tensorflow as tf


class Identity:
    """torch's `nn.Identity`: gives what it is given, in the dtype that a layer would.

    It is no Keras layer: it has no weights and nothing to watch, and more than a third
    of a ViT's layers would be such, for Keras to make and to go through.

    Args:
        dtype: A dtype or a dtype policy; Keras's default if None.
        name: timm's name of the place.
    """

    def __init__(self, dtype: Any = None, name: str | None = None):
        self.name = name
        self.compute_dtype = keras.dtype_policies.get(
            dtype or keras.config.dtype_policy()
        ).compute_dtype

    def build(self, input_shape) -> None:
        """Nothing: as a layer that another model has there is built."""

    def __call__(self, x: tf.Tensor, training: bool = False) -> tf.Tensor:
        return keras.ops.cast(x, self.compute_dtype)

    def compute_output_shape(self, input_shape):
        return input_shape
