"""Convolutions with weight standardisation."""

import keras
import tensorflow as tf
from keras import ops

from vit_tf.layers.initializers import FanOutNormal
from vit_tf.layers.precision import wide


class StdConv2dSame(keras.layers.Conv2D):
    """https://arxiv.org/abs/1903.10520; timm's `layers/std_conv.py`.

    The kernel of each output channel is brought to mean 0 and variance 1 before it is
    used. Padding is TensorFlow's "same", which timm has to add by hand.

    Args:
        out_channels: Number of output channels.
        kernel_size: Height and width of the kernel.
        stride: Step in both directions.
        bias: Whether there is one.
        eps: Added to the (biased) variance.
        kernel_initializer: What the kernel starts from.
    """

    def __init__(
        self,
        out_channels: int,
        kernel_size: int,
        stride: int = 1,
        bias: bool = False,
        eps: float = 1e-6,
        kernel_initializer: keras.initializers.Initializer | None = None,
        **kwargs,
    ):
        super().__init__(
            out_channels,
            kernel_size=kernel_size,
            strides=stride,
            padding="same",
            data_format="channels_last",
            use_bias=bias,
            kernel_initializer=kernel_initializer or FanOutNormal(),
            **kwargs,
        )
        self.eps = eps

    def convolution_op(self, inputs: tf.Tensor, kernel: tf.Tensor) -> tf.Tensor:
        kernel = self._standardised(tf.convert_to_tensor(kernel))
        return tf.nn.conv2d(inputs, kernel, self.strides, "SAME")

    def _standardised(self, kernel: tf.Tensor) -> tf.Tensor:
        """Half precision is standardised in float32, from a kernel rounded to half.

        Means are products with a row of 1/n: faster than a reduction over
        all axes but the last.
        """
        rows = tf.reshape(wide(kernel), (-1, self.filters))
        mean = tf.fill((1, rows.shape[0]), tf.constant(1 / rows.shape[0], rows.dtype))
        rows = rows - tf.matmul(mean, rows)
        variance = tf.matmul(mean, ops.square(rows))
        rows = rows * self._inverse_deviation(variance)
        return ops.cast(tf.reshape(rows, kernel.shape), kernel.dtype)

    def _inverse_deviation(self, variance: tf.Tensor) -> tf.Tensor:
        return ops.rsqrt(variance + self.eps)


class FlaxStdConv(StdConv2dSame):
    """The same, as google-research/vision_transformer's `models_resnet.py` has it.

    Args:
        eps: Added to the deviation, not to the variance.
        **kwargs: those of `StdConv2dSame`.
    """

    def __init__(self, *args, eps: float = 1e-5, **kwargs):
        super().__init__(*args, eps=eps, **kwargs)

    def _inverse_deviation(self, variance: tf.Tensor) -> tf.Tensor:
        return 1 / (ops.sqrt(variance) + self.eps)
