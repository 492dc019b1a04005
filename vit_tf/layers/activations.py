"""Activation functions, computed as torch computes them.

That is, half precision in float32, rounded once at the end.
"""

import math
from collections.abc import Callable

import keras
import tensorflow as tf

from vit_tf.layers.precision import rounded_once


@keras.saving.register_keras_serializable(package="vit_tf")
@rounded_once
def gelu(x: tf.Tensor) -> tf.Tensor:
    """The exact GELU, `x * Phi(x)` (https://arxiv.org/abs/1606.08415).

    `tf.nn.gelu` and `keras.ops.gelu` round the square root of two to float32, also in
    float64: 1e-8 instead of 1e-16. In this form TensorFlow fuses it with the matrix
    product and the bias before it.
    """
    sqrt_half = tf.constant(math.sqrt(0.5), x.dtype)
    return 0.5 * x * (1 + tf.math.erf(x * sqrt_half))


@keras.saving.register_keras_serializable(package="vit_tf")
@rounded_once
def gelu_tanh(x: tf.Tensor) -> tf.Tensor:
    """GELU's approximation by tanh, with constants of `x`'s precision."""
    scale = tf.constant(math.sqrt(2 / math.pi), x.dtype)
    cubic = tf.constant(0.044715, x.dtype)
    return 0.5 * x * (1 + tf.tanh(scale * (x + cubic * x * x * x)))


@keras.saving.register_keras_serializable(package="vit_tf")
@rounded_once
def quick_gelu(x: tf.Tensor) -> tf.Tensor:
    """GELU's approximation by the sigmoid, `x * sigmoid(1.702 x)`, as in CLIP."""
    return x * tf.sigmoid(tf.constant(1.702, x.dtype) * x)


@keras.saving.register_keras_serializable(package="vit_tf")
@rounded_once
def silu(x: tf.Tensor) -> tf.Tensor:
    """`x * sigmoid(x)` (https://arxiv.org/abs/1702.03118)."""
    return tf.nn.silu(x)


@keras.saving.register_keras_serializable(package="vit_tf")
@rounded_once
def sigmoid(x: tf.Tensor) -> tf.Tensor:
    return tf.sigmoid(x)


@keras.saving.register_keras_serializable(package="vit_tf")
@rounded_once
def tanh(x: tf.Tensor) -> tf.Tensor:
    return tf.tanh(x)


@rounded_once
def softmax(x: tf.Tensor) -> tf.Tensor:
    """Over the last axis."""
    return tf.nn.softmax(x)


ACTIVATIONS: dict[str, Callable[[tf.Tensor], tf.Tensor]] = {  # timm's names
    "gelu": gelu,
    "gelu_tanh": gelu_tanh,
    "quick_gelu": quick_gelu,
    "silu": silu,
    "relu": tf.nn.relu,
    "sigmoid": sigmoid,
    "tanh": tanh,
}


def act_layer(
    activation: str, dtype: keras.DTypePolicy, name: str = "act"
) -> keras.layers.Layer:
    """The layer that computes an activation.

    Args:
        activation: timm's name of it.
        dtype: The layer's.
        name: The layer's.

    Raises:
        ValueError: if there is none of that name, listing those there are.
    """
    if activation not in ACTIVATIONS:
        known = ", ".join(ACTIVATIONS)
        raise ValueError(f"act_layer={activation!r}: expected one of {known}")
    return keras.layers.Activation(ACTIVATIONS[activation], dtype=dtype, name=name)
