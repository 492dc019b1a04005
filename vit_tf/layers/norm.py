"""Layer normalisation with timm's defaults."""

import keras
import tensorflow as tf
from keras import ops


class LayerNorm(keras.layers.LayerNormalization):
    """https://arxiv.org/abs/1607.06450; timm's `layers/norm.py`.

    Keras's own layer, computed in two passes as torch does: the variance is that of
    the centred values. Half precision is normalised in float32.

    Args:
        eps: Added to the variance. timm's default; Keras's own is a thousand times it.
    """

    def __init__(self, eps: float = 1e-6, **kwargs):
        super().__init__(epsilon=eps, **kwargs)
        self.eps = eps

    def call(self, x: tf.Tensor) -> tf.Tensor:
        dtype = keras.backend.result_type(x.dtype, "float32")
        centred = ops.cast(x, dtype)
        centred = centred - ops.mean(centred, axis=-1, keepdims=True)
        variance = ops.mean(ops.square(centred), axis=-1, keepdims=True)
        normed = centred * ops.rsqrt(variance + self.eps)
        return ops.cast(normed * self.gamma + self.beta, x.dtype)
