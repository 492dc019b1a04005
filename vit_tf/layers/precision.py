"""What is computed in float32 at least, as torch does it."""

import functools
from collections.abc import Callable

import tensorflow as tf


def wide(x: tf.Tensor) -> tf.Tensor:
    """Half precision in float32; what is wider, as it is."""
    return tf.cast(x, tf.float32) if x.dtype.size < tf.float32.size else x


def rounded_once(function: Callable[[tf.Tensor], tf.Tensor]) -> Callable:
    """A function that computes in float32 at least, and gives what it was given."""

    @functools.wraps(function)
    def computed(x: tf.Tensor) -> tf.Tensor:
        return tf.cast(function(wide(x)), x.dtype)

    return computed
