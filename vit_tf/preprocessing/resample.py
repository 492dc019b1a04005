"""Pillow's resize, bit for bit, of the window that is looked at.

Pillow resizes in two passes, one along each axis. Each is a sum of products of pixels
and weights in fixed point, rounded to a byte. Source: Pillow,
src/libImaging/Resample.c.
"""

from typing import NamedTuple

import tensorflow as tf

SUPPORT = {"bilinear": 1.0, "bicubic": 2.0, "lanczos": 3.0}
_PRECISION = 2.0**22
_BLOCK = 8  # outputs that one product computes, from the pixels that they share


class Weights(NamedTuple):
    """How each output of a pass is made of pixels.

    Attributes:
        first: (blocks,) int64, the first pixel that each block of outputs reads.
        values: (blocks, outputs, pixels) float64, whole multiples of 2**-22.
    """

    first: tf.Tensor
    values: tf.Tensor


def resample_weights(
    size: tf.Tensor,
    resized: tf.Tensor,
    start: tf.Tensor,
    length: tf.Tensor,
    interpolation: str,
) -> Weights:
    """The weights of Pillow's `precompute_coeffs` and `normalize_coeffs_8bpc`.

    Args:
        size: Pixels along the axis, () int64.
        resized: Pixels along the resized axis.
        start: The first of them that is computed.
        length: How many are.
        interpolation: Pillow's filter.
    """
    size, resized = tf.cast(size, tf.float64), tf.cast(resized, tf.float64)
    scale = size / resized
    filter_scale = tf.maximum(scale, 1.0)
    support = SUPPORT[interpolation] * filter_scale
    last = start + length - 1
    blocks = (length + _BLOCK - 1) // _BLOCK
    outputs = tf.minimum(start + tf.range(blocks * _BLOCK), last)
    center = (tf.cast(outputs, tf.float64) + 0.5) * scale
    low = tf.maximum(tf.floor(center - support + 0.5), 0.0)
    high = tf.minimum(tf.floor(center + support + 0.5), size)
    center, low, high = (tf.reshape(x, (-1, _BLOCK, 1)) for x in (center, low, high))
    first = low[:, :1]
    pixels = tf.reduce_max(high[:, -1] - low[:, 0])
    position = first + tf.range(pixels, dtype=tf.float64)  # (blocks, 1, pixels)
    distance = (position - center + 0.5) * (1.0 / filter_scale)
    inside = tf.logical_and(position >= low, position < high)
    weights = tf.where(inside, _FILTERS[interpolation](tf.abs(distance)), 0.0)
    total = tf.cumsum(weights, axis=-1)[..., -1:]  # left to right, as Pillow adds
    weights = tf.math.divide_no_nan(weights, total) * _PRECISION
    fixed = tf.where(weights < 0, tf.math.ceil(weights - 0.5), tf.floor(weights + 0.5))
    return Weights(tf.cast(first[:, 0, 0], tf.int64), fixed * (1.0 / _PRECISION))


def resample(pixels: tf.Tensor, origin: tf.Tensor, weights: Weights) -> tf.Tensor:
    """One pass, along the first axis.

    Args:
        pixels: (N, M) uint8.
        origin: Which pixel of the axis the first row is.
        weights: Of the pass.

    Returns:
        (outputs, M) uint8; what is behind the window's length is to be ignored.
    """
    rows = (
        weights.first[:, None]
        - origin
        + tf.range(tf.shape(weights.values, tf.int64)[-1])
    )
    rows = tf.minimum(rows, tf.shape(pixels, tf.int64)[0] - 1)  # those weigh nothing
    read = tf.cast(tf.gather(pixels, rows), tf.float64)  # (blocks, pixels, M)
    sums = tf.reshape(weights.values @ read, (-1, tf.shape(pixels)[1]))
    return tf.cast(tf.clip_by_value(sums + 0.5, 0.0, 255.0), tf.uint8)


def _bilinear(x: tf.Tensor) -> tf.Tensor:
    return tf.maximum(1.0 - x, 0.0)


def _bicubic(x: tf.Tensor) -> tf.Tensor:
    near = (1.5 * x - 2.5) * x * x + 1.0
    far = (((x - 5.0) * x + 8.0) * x - 4.0) * -0.5
    return tf.where(x < 1.0, near, tf.where(x < 2.0, far, 0.0))


def _lanczos(x: tf.Tensor) -> tf.Tensor:
    return tf.where(
        x < 3.0,
        _sinc(x) * _sinc(tf.math.divide_no_nan(x, tf.constant(3.0, x.dtype))),
        0.0,
    )


def _sinc(x: tf.Tensor) -> tf.Tensor:
    x = x * 3.141592653589793
    return tf.where(x == 0.0, tf.ones_like(x), tf.math.divide_no_nan(tf.sin(x), x))


_FILTERS = {"bilinear": _bilinear, "bicubic": _bicubic, "lanczos": _lanczos}
