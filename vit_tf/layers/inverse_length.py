"""The length of vectors, to divide by it."""

import tensorflow as tf

from vit_tf.layers.precision import wide


def inverse_length(x: tf.Tensor) -> tf.Tensor:
    """What makes vectors along the last axis as long as one; torch's `F.normalize`.

    A zero vector stays zero and its gradient is finite. Half precision is summed in
    float32, as torch does.

    Args:
        x: (..., D).

    Returns:
        (..., 1), one over the length, or over torch's 1e-12 where that is larger (in
        float16, which has no such number, over its smallest normal one).
    """
    squares = tf.square(wide(x))
    length_squared = tf.reduce_sum(squares, axis=-1, keepdims=True)
    eps = 2**-14 if x.dtype == tf.float16 else 1e-12
    eps_squared = tf.constant(eps**2, squares.dtype)
    return tf.cast(tf.math.rsqrt(tf.maximum(length_squared, eps_squared)), x.dtype)
