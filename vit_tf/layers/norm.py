"""Normalisations over the last axis, with timm's defaults."""

from collections.abc import Callable

import keras
import tensorflow as tf

from vit_tf.layers.precision import wide
from vit_tf.layers.spec import resolve


class LayerNorm(keras.layers.LayerNormalization):
    """https://arxiv.org/abs/1607.06450; timm's `layers/norm.py`.

    Keras's own layer, computed in two passes as torch does: the variance is that of
    the centred values. Half precision is normalised in float32.

    Args:
        eps: Added to the variance. timm's default; Keras's own is a thousand times it.
        weight_init: What the weight starts from.
    """

    def __init__(self, eps: float = 1e-6, weight_init: float = 1.0, **kwargs):
        weight_initializer = keras.initializers.Constant(weight_init)
        super().__init__(epsilon=eps, gamma_initializer=weight_initializer, **kwargs)
        self.eps = eps
        self.weight_init = weight_init

    def call(self, x: tf.Tensor) -> tf.Tensor:
        centred = wide(x)
        centred = centred - tf.reduce_mean(centred, axis=-1, keepdims=True)
        variance = tf.reduce_mean(tf.square(centred), axis=-1, keepdims=True)
        normed = centred * tf.math.rsqrt(variance + self.eps)
        return tf.cast(normed * self.gamma + self.beta, x.dtype)

    def get_config(self) -> dict:
        config = keras.layers.Layer.get_config(self)
        return {**config, "eps": self.eps, "weight_init": self.weight_init}


class RmsNorm(keras.layers.Layer):
    """https://arxiv.org/abs/1910.07467; timm's `layers/norm.py`.

    Half precision is normalised in float32.

    Args:
        eps: Added to the mean square.
        weight_init: What the weight starts from.
    """

    def __init__(self, eps: float = 1e-6, weight_init: float = 1.0, **kwargs):
        super().__init__(**kwargs)
        self.eps = eps
        self.weight_init = weight_init

    def build(self, input_shape):
        self.weight = self.add_weight(
            name="weight",
            shape=(input_shape[-1],),
            initializer=keras.initializers.Constant(self.weight_init),
        )

    def call(self, x: tf.Tensor) -> tf.Tensor:
        y = wide(x)
        # no `square`, which LiteRT has not in integers
        mean_square = tf.reduce_mean(y * y, axis=-1, keepdims=True)
        normed = y * tf.math.rsqrt(mean_square + self.eps)
        return tf.cast(normed * self.weight, x.dtype)

    def compute_output_shape(self, input_shape):
        return input_shape


NORMS = {"LayerNorm": LayerNorm, "RmsNorm": RmsNorm}


def norm_layer(text: str) -> Callable[..., keras.layers.Layer]:
    """What makes the norm that a configuration names, e.g. "LayerNorm(eps=1e-5)".

    Raises:
        ValueError: if there is none of that name, listing those there are.
    """
    return resolve(text, NORMS)
