"""A convolution, its normalisation and its activation."""

from collections.abc import Callable

import tensorflow as tf

from vit_tf.layers.conv import Conv2d
from vit_tf.layers.module import Module
from vit_tf.layers.norm_act import BatchNormAct2d


class ConvNormAct(Module):
    """timm's `layers/conv_bn_act.py`, with batch normalisation.

    Args:
        out_channels: Number of output channels.
        kernel_size: Height and width of the kernel.
        stride: Step in both directions.
        padding: Rows or columns of zeros at each end.
        bias: Whether the convolution has one.
        apply_norm: Whether normalisation and activation follow.
        act_layer: The activation.
    """

    def __init__(
        self,
        out_channels: int,
        kernel_size: int = 1,
        stride: int = 1,
        padding: int = 0,
        bias: bool = False,
        apply_norm: bool = True,
        act_layer: Callable[[tf.Tensor], tf.Tensor] = tf.nn.relu,
        **kwargs,
    ):
        super().__init__(**kwargs)
        self.out_channels = out_channels
        self.kernel_size = kernel_size
        self.stride = stride
        self.padding = padding
        self.bias = bias
        self.apply_norm = apply_norm
        self.act_layer = act_layer

    def build(self, input_shape):
        self.conv = Conv2d(
            self.out_channels,
            self.kernel_size,
            stride=self.stride,
            padding=self.padding,
            bias=self.bias,
            dtype=self.dtype_policy,
            name="conv",
        )
        self.conv.build(input_shape)
        self.bn = None
        if self.apply_norm:
            self.bn = BatchNormAct2d(
                act_layer=self.act_layer, dtype=self.dtype_policy, name="bn"
            )
            self.bn.build(self.conv.compute_output_shape(input_shape))

    def call(self, x: tf.Tensor, training: bool = False) -> tf.Tensor:
        x = self.conv(x)
        return x if self.bn is None else self.bn(x, training=training)

    def compute_output_shape(self, input_shape):
        return self.conv.compute_output_shape(input_shape)
