"""Pillow's resize, bit for bit, of the window that is looked at.

Pillow resizes in two passes, one along each axis. Each is a sum of products of pixels
and weights in fixed point, rounded to a byte. Source: Pillow,
src/libImaging/Resample.c.
"""

from typing import NamedTuple

import tensorflow as tf

from vit_tf.preprocessing.geometry import Window

SUPPORT = {"bilinear": 1.0, "bicubic": 2.0, "lanczos": 3.0}
_PRECISION = 2.0**22
_BLOCK = 8  # outputs that one product computes, from the pixels that they share
_MOST_PIXELS = 512  # of a block, for sums in float32 to be exact


class Weights(NamedTuple):
    """How the outputs of both passes, along the height and the width, are made.

    Attributes:
        low: (2,) int64, the first pixel that is read.
        high: (2,) int64, what is behind the last one.
        first: (2, blocks) int64, the first pixel that each block of outputs reads.
        pixels: (2,) int64, how many pixels a block reads at most.
        values: (2, blocks, outputs, pixels) float64, whole multiples of 2**-22. Of the
            last axis, `pixels` count.
    """

    low: tf.Tensor
    high: tf.Tensor
    first: tf.Tensor
    pixels: tf.Tensor
    values: tf.Tensor


def resample_weights(
    size: tf.Tensor, seen: Window, outputs: int, interpolation: str
) -> Weights:
    """The weights of Pillow's `precompute_coeffs` and `normalize_coeffs_8bpc`.

    Args:
        size: (height, width) of the image, (2,) int64.
        seen: The window in the resized image.
        outputs: How many outputs there are to be along each axis, at least as many as
            the window has; those behind it repeat its last.
        interpolation: Pillow's filter.
    """
    blocks = -(-outputs // _BLOCK)
    offsets = tf.range(blocks * _BLOCK, dtype=tf.int64)
    position = seen.start[:, None] + tf.minimum(offsets, seen.length[:, None] - 1)
    edge = tf.cast(size, tf.float64)
    scale = (edge / tf.cast(seen.resized, tf.float64))[:, None]
    filter_scale = tf.maximum(scale, 1.0)
    support = SUPPORT[interpolation] * filter_scale
    center = (tf.cast(position, tf.float64) + 0.5) * scale
    low = tf.maximum(tf.floor(center - support + 0.5), 0.0)
    high = tf.minimum(tf.floor(center + support + 0.5), edge[:, None])
    center, low, high = (
        tf.reshape(x, (2, blocks, _BLOCK, 1)) for x in (center, low, high)
    )
    first = low[:, :, :1]
    pixels = tf.reduce_max(high[:, :, -1] - low[:, :, 0], axis=1)
    pixel = first + tf.range(tf.reduce_max(pixels), dtype=tf.float64)
    distance = (pixel - center + 0.5) * (1.0 / filter_scale[:, :, None, None])
    weights = _FILTERS[interpolation](tf.abs(distance))
    inside = tf.logical_and(pixel >= low, pixel < high)
    weights = tf.where(inside, weights, tf.zeros_like(weights))
    total = tf.cumsum(weights, axis=-1)[..., -1:]  # left to right, as Pillow adds
    weights = weights / total * _PRECISION
    half = tf.where(weights < 0, tf.constant(-0.5, tf.float64), 0.5)
    fixed = tf.cast(tf.cast(weights + half, tf.int32), tf.float64)  # cut, as in C
    first = tf.cast(first[:, :, 0, 0], tf.int64)
    return Weights(
        first[:, 0],
        tf.cast(high[:, -1, -1, 0], tf.int64),
        first,
        tf.cast(pixels[:, 0], tf.int64),
        fixed * (1.0 / _PRECISION),
    )


def resample(
    pixels: tf.Tensor, origin: tf.Tensor, weights: Weights, *, axis: tf.Tensor
) -> tf.Tensor:
    """One pass, along the first axis of what is given.

    Args:
        pixels: (N, M, channels) uint8, a part of the image.
        origin: (2,) int64, which of the image's pixels the part begins with.
        weights: Of both passes.
        axis: () int64, whose are meant: 0 for the height's, 1 for the width's.

    Returns:
        (outputs, M, channels) uint8.
    """
    shape = tf.shape(pixels, tf.int64)
    pixels = tf.reshape(pixels, (shape[0], shape[1] * shape[2]))
    count = weights.pixels[axis]
    rows = weights.first[axis][:, None] - origin[axis] + tf.range(count)
    # Those behind the end weigh nothing.
    read = tf.gather(pixels, tf.minimum(rows, shape[0] - 1))  # (blocks, count, M * C)
    values = weights.values[axis, :, :, :count]
    levels = tf.cond(
        count <= _MOST_PIXELS,
        lambda: _sums_in_float32(values, read),
        lambda: _sums_in_float64(values, read),
    )
    return tf.reshape(levels, (-1, shape[1], shape[2]))


def _sums_in_float32(weights: tf.Tensor, pixels: tf.Tensor) -> tf.Tensor:
    """The rounded sums of products, exact although float32 has 24 bits.

    A weight is a coarse part, a multiple of 2**-15, and a fine one, at most 2**-16 in
    steps of 2**-22. The sum of either part's products with pixels below 2**8 needs no
    more than 24 bits, in whatever order: the coarse one is below 2**9, the fine one, of
    at most 2**9 pixels, below 2.
    """
    coarse = tf.round(weights * 2.0**15) * 2.0**-15
    parts = tf.cast(tf.concat([coarse, weights - coarse], axis=1), tf.float32)
    sums = parts @ tf.cast(pixels, tf.float32)
    coarse, fine = tf.split(sums, 2, axis=1)
    coarse += 0.5
    level = tf.floor(coarse)
    level += tf.floor(coarse - level + fine)
    return tf.cast(tf.clip_by_value(level, 0.0, 255.0), tf.uint8)


def _sums_in_float64(weights: tf.Tensor, pixels: tf.Tensor) -> tf.Tensor:
    sums = weights @ tf.cast(pixels, tf.float64)
    return tf.cast(tf.clip_by_value(tf.floor(sums + 0.5), 0.0, 255.0), tf.uint8)


def _bilinear(x: tf.Tensor) -> tf.Tensor:
    return tf.maximum(1.0 - x, 0.0)


def _bicubic(x: tf.Tensor) -> tf.Tensor:
    near = (1.5 * x - 2.5) * x * x + 1.0
    far = (((x - 5.0) * x + 8.0) * x - 4.0) * -0.5
    return tf.where(x < 1.0, near, tf.where(x < 2.0, far, tf.zeros_like(x)))


def _lanczos(x: tf.Tensor) -> tf.Tensor:
    # Not `x / 3`: TensorFlow would multiply by the inverse.
    third = tf.math.divide_no_nan(x, tf.constant(3.0, x.dtype))
    return tf.where(x < 3.0, _sinc(x) * _sinc(third), tf.zeros_like(x))


def _sinc(x: tf.Tensor) -> tf.Tensor:
    x = x * 3.141592653589793
    return tf.where(x == 0.0, tf.ones_like(x), tf.math.divide_no_nan(tf.sin(x), x))


_FILTERS = {"bilinear": _bilinear, "bicubic": _bicubic, "lanczos": _lanczos}
