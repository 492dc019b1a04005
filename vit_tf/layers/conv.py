"""A convolution that pads as torch's does."""

import math

import keras
import tensorflow as tf

from vit_tf.layers.initializers import FanInUniform


class Conv2d(keras.layers.Conv2D):
    """torch's `nn.Conv2d`: the same number of zeros at both ends of an axis.

    With a stride, Keras's "same" puts more of them at the end.

    Args:
        out_channels: Number of output channels.
        kernel_size: Height and width of the kernel.
        stride: Step in both directions.
        padding: Rows or columns of zeros at each end.
        bias: Whether there is one.
        kernel_initializer: None for torch's default.
    """

    def __init__(
        self,
        out_channels: int,
        kernel_size: int,
        stride: int = 1,
        padding: int = 0,
        bias: bool = True,
        kernel_initializer: keras.initializers.Initializer | None = None,
        **kwargs,
    ):
        super().__init__(
            out_channels,
            kernel_size=kernel_size,
            strides=stride,
            padding="valid",
            data_format="channels_last",
            use_bias=bias,
            kernel_initializer=kernel_initializer,
            **kwargs,
        )
        self.zeros = padding

    def build(self, input_shape):
        if self.kernel_initializer is None:
            fan_in = math.prod(self.kernel_size) * input_shape[-1]
            self.kernel_initializer = FanInUniform(fan_in=fan_in)
            self.bias_initializer = FanInUniform(fan_in=fan_in)
        super().build(input_shape)

    def convolution_op(self, inputs: tf.Tensor, kernel: tf.Tensor) -> tf.Tensor:
        zeros = [self.zeros, self.zeros]
        padding = [[0, 0], zeros, zeros, [0, 0]] if self.zeros else "VALID"
        return tf.nn.conv2d(inputs, kernel, self.strides, padding)

    def compute_output_shape(self, input_shape):
        batch, height, width, channels = input_shape
        padded = (height + 2 * self.zeros, width + 2 * self.zeros)
        return super().compute_output_shape((batch, *padded, channels))
