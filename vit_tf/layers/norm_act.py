"""A normalisation followed by its activation, in one layer as in timm."""

from collections.abc import Callable

import keras
import tensorflow as tf
from keras import ops

from vit_tf.layers.batch_norm import BatchNorm2d
from vit_tf.layers.identity import Identity
from vit_tf.layers.module import Module
from vit_tf.layers.precision import wide


class GroupNormAct(Module):
    """https://arxiv.org/abs/1803.08494; timm's `layers/norm_act.py`.

    Half precision is normalised in float32.

    Args:
        num_groups: Number of groups of channels, of each of which an image has one
            mean and one variance.
        eps: Added to the variance.
        apply_act: Whether the activation follows.
        act_layer: The activation.
        zero_init: Whether `weight` starts from 0.

    Raises:
        ValueError: when built, if the channels do not divide into the groups.
    """

    def __init__(
        self,
        num_groups: int = 32,
        eps: float = 1e-5,
        apply_act: bool = True,
        act_layer: Callable[[tf.Tensor], tf.Tensor] = tf.nn.relu,
        *,
        zero_init: bool = False,
        **kwargs,
    ):
        super().__init__(**kwargs)
        self.num_groups = num_groups
        self.eps = eps
        self.apply_act = apply_act
        self.act_layer = act_layer
        self.zero_init = zero_init

    def build(self, input_shape):
        channels = input_shape[-1]
        if channels % self.num_groups:
            raise ValueError(
                f"{channels} channels do not divide into {self.num_groups} groups"
            )
        self.weight = self.add_weight(
            name="weight",
            shape=(channels,),
            initializer="zeros" if self.zero_init else "ones",
            autocast=False,
        )
        self.bias = self.add_weight(
            name="bias", shape=(channels,), initializer="zeros", autocast=False
        )
        self.act = _act(self.apply_act, self.act_layer, self.dtype_policy)
        self.act.build(input_shape)

    def call(self, x: tf.Tensor) -> tf.Tensor:
        y = wide(x)
        scale, shift = self._scale_and_shift(y)  # each (B, 1, 1, C)
        return self.act(ops.cast(y * scale + shift, x.dtype))

    def compute_output_shape(self, input_shape):
        return input_shape

    def _scale_and_shift(self, x: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        """What takes `x` to its normalised values, times weight and plus bias.

        Statistics of the channels first, then of the groups: reducing over rows and
        columns is faster than over rows, columns and part of the channels.
        """
        groups = (-1, self.num_groups, x.shape[-1] // self.num_groups)
        mean = ops.mean(x, axis=(1, 2), keepdims=True)  # (B, 1, 1, C)
        variance = ops.mean(ops.square(x - mean), axis=(1, 2))  # (B, C)
        channel_mean = tf.reshape(mean, groups)  # (B, G, C/G)
        mean = ops.mean(channel_mean, axis=-1, keepdims=True)  # (B, G, 1)
        between = ops.square(channel_mean - mean)
        variance = tf.reshape(variance, groups) + between
        variance = ops.mean(variance, axis=-1, keepdims=True)  # (B, G, 1)
        scale = ops.rsqrt(variance + self.eps) * tf.reshape(self.weight, groups)
        shift = tf.reshape(self.bias, groups) - mean * scale  # (B, G, C/G)
        channels = (-1, 1, 1, x.shape[-1])
        return tf.reshape(scale, channels), tf.reshape(shift, channels)


class BatchNormAct2d(BatchNorm2d):
    """`BatchNorm2d` and its activation; timm's `layers/norm_act.py`.

    Args:
        eps: Added to the variance.
        momentum: How far the running statistics move, from 0 to 1.
        apply_act: Whether the activation follows.
        act_layer: The activation.
    """

    def __init__(
        self,
        eps: float = 1e-5,
        momentum: float = 0.1,
        apply_act: bool = True,
        act_layer: Callable[[tf.Tensor], tf.Tensor] = tf.nn.relu,
        **kwargs,
    ):
        super().__init__(eps, momentum, **kwargs)
        self.apply_act = apply_act
        self.act_layer = act_layer

    def build(self, input_shape):
        super().build(input_shape)
        self.act = _act(self.apply_act, self.act_layer, self.dtype_policy)
        self.act.build(input_shape)

    def call(self, x: tf.Tensor, training: bool = False) -> tf.Tensor:
        return self.act(super().call(x, training=training))


def _act(
    apply_act: bool, act_layer: Callable[[tf.Tensor], tf.Tensor], dtype
) -> keras.layers.Layer | Identity:
    if not apply_act:
        return Identity(dtype=dtype, name="act")
    return keras.layers.Activation(act_layer, dtype=dtype, name="act")
