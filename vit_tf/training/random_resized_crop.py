"""Which box of an image training sees."""

import math

import tensorflow as tf

SCALE, RATIO = (0.08, 1.0), (3 / 4, 4 / 3)  # timm's defaults
_ATTEMPTS = 10  # of a box that fits


def draw_box(
    size: tf.Tensor,
    scale: tuple[float, float],
    ratio: tuple[float, float],
    seed: tf.Tensor,
) -> tf.Tensor:
    """A box of random size, aspect and place, as timm draws it.

    Keras's `RandomCrop` draws places only. Where no box of ten fits, it is the largest
    one in the middle whose aspect is within the bounds.

    Source: timm/data/transforms.py `RandomResizedCropAndInterpolation.get_params`.

    Args:
        size: (height, width) of the image, (2,) int64.
        scale: The least and the largest part of the image's area.
        ratio: The least and the largest width relative to the height.
        seed: (2,) integers.

    Returns:
        (2, 2) int64: where it begins, top and left, and its height and width.
    """
    of_area, of_ratio, of_place = tf.unstack(tf.random.split(seed, 3))
    draws = (_ATTEMPTS,)
    areas = tf.random.stateless_uniform(draws, of_area, *scale, tf.float64)
    areas *= tf.cast(tf.reduce_prod(size), tf.float64)
    logs = (math.log(edge) for edge in ratio)
    ratios = tf.exp(tf.random.stateless_uniform(draws, of_ratio, *logs, tf.float64))
    edges = tf.stack([tf.sqrt(areas / ratios), tf.sqrt(areas * ratios)], axis=-1)
    edges = tf.maximum(tf.cast(tf.round(edges), tf.int64), 1)
    fits = tf.reduce_all(edges <= size, axis=-1)
    length = tf.gather(edges, tf.argmax(fits))
    place = tf.random.stateless_uniform((2,), of_place, dtype=tf.float64)
    start = tf.cast(place * tf.cast(size - length + 1, tf.float64), tf.int64)
    box = tf.stack([start, length])
    return tf.where(tf.reduce_any(fits), box, _middle(size, ratio))


def _middle(size: tf.Tensor, ratio: tuple[float, float]) -> tf.Tensor:
    height, width = (tf.cast(edge, tf.float64) for edge in tf.unstack(size, num=2))
    low, high = (tf.constant(edge, tf.float64) for edge in (min(ratio), max(ratio)))
    # Not `/`: where a divisor is a constant, TensorFlow multiplies by its inverse.
    tall = tf.round(tf.math.divide_no_nan(width, low))
    length = tf.stack(
        [tf.minimum(height, tall), tf.minimum(width, tf.round(height * high))]
    )
    length = tf.maximum(tf.cast(length, tf.int64), 1)
    return tf.stack([(size - length) // 2, length])
