"""Activation functions, computed as torch computes them."""

import math

import keras
import tensorflow as tf


@keras.saving.register_keras_serializable(package="vit_tf")
def gelu(x: tf.Tensor) -> tf.Tensor:
    """The exact GELU, `x * Phi(x)` (https://arxiv.org/abs/1606.08415).

    `tf.nn.gelu` and `keras.ops.gelu` round the square root of two to float32, also in
    float64: 1e-8 instead of 1e-16. In this form TensorFlow fuses it with the matrix
    product and the bias before it.
    """
    sqrt_half = tf.constant(math.sqrt(0.5), x.dtype)
    return 0.5 * x * (1 + tf.math.erf(x * sqrt_half))
