"""Max-pooling that pads as torch's does."""

import keras
import tensorflow as tf


class MaxPool2d(keras.layers.MaxPooling2D):
    """torch's `nn.MaxPool2d`: the same padding, of -inf, at both ends of an axis.

    (timm's `MaxPool2dSame` is Keras's own, with `padding="same"`.)

    Args:
        kernel_size: Height and width of the window.
        stride: Step in both directions.
        padding: Rows or columns at each end.
    """

    def __init__(self, kernel_size: int, stride: int, padding: int = 0, **kwargs):
        super().__init__(
            kernel_size, stride, "valid", data_format="channels_last", **kwargs
        )
        self.rows = padding

    def call(self, x: tf.Tensor) -> tf.Tensor:
        rows = [self.rows, self.rows]
        lowest = tf.constant(float("-inf"), x.dtype)
        return super().call(
            tf.pad(x, [[0, 0], rows, rows, [0, 0]], constant_values=lowest)
        )

    def compute_output_shape(self, input_shape):
        batch, height, width, channels = input_shape
        padded = (height + 2 * self.rows, width + 2 * self.rows)
        return super().compute_output_shape((batch, *padded, channels))
