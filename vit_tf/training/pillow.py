"""Pillow's operations on the bytes of an image, bit for bit, in TensorFlow's.

Each takes and gives (H, W, C) uint8, with C 3, or 1 for grey images. Sources: Pillow,
PIL/ImageOps.py, PIL/ImageEnhance.py, libImaging/Blend.c, Filter.c, Convert.c.
"""

import numpy as np
import tensorflow as tf

from vit_tf.preprocessing import crop

_LEVELS = np.arange(256, dtype=np.float64)


def autocontrast(image: tf.Tensor) -> tf.Tensor:
    """Each channel stretched so that its darkest byte is 0 and its brightest 255."""
    present = _histograms(image) > 0
    low = tf.argmax(present, axis=1)
    high = 255 - tf.argmax(present[:, ::-1], axis=1)
    scale = 255.0 / tf.cast(tf.maximum(high - low, 1), tf.float64)[:, None]
    offset = -tf.cast(low, tf.float64)[:, None] * scale
    table = tf.cast(_LEVELS * scale + offset, tf.int32)
    same = tf.constant(_LEVELS, tf.int32)
    return _looked_up(image, tf.where((high > low)[:, None], table, same))


def equalize(image: tf.Tensor) -> tf.Tensor:
    """Each channel with a histogram as even as a table of bytes makes it."""
    histograms = _histograms(image)
    filled = tf.cast(histograms > 0, tf.int32)
    brightest = 255 - tf.argmax(filled[:, ::-1], axis=1, output_type=tf.int32)
    last = tf.gather(histograms, brightest, axis=1, batch_dims=1)
    step = ((tf.reduce_sum(histograms, axis=1) - last) // 255)[:, None]
    below = tf.cumsum(histograms, axis=1, exclusive=True)
    table = (step // 2 + below) // tf.maximum(step, 1)
    same = tf.constant(_LEVELS, tf.int32)
    return _looked_up(image, tf.where(step > 0, table, same))


def invert(image: tf.Tensor) -> tf.Tensor:
    return 255 - image


def solarize(image: tf.Tensor, threshold: tf.Tensor) -> tf.Tensor:
    """What is not below a threshold, () int32 from 0 to 256, inverted."""
    return tf.where(tf.cast(image, tf.int32) < threshold, image, 255 - image)


def solarize_add(image: tf.Tensor, add: tf.Tensor) -> tf.Tensor:
    """What is below 128 made brighter by () int32."""
    levels = tf.cast(image, tf.int32)
    return tf.where(
        levels < 128, tf.cast(tf.minimum(levels + add, 255), tf.uint8), image
    )


def posterize(image: tf.Tensor, bits: tf.Tensor) -> tf.Tensor:
    """The () int32 highest bits of each byte: below 0 none, above 8 all.

    Pillow 13 refuses to keep none, which was black before, and timm at its largest
    magnitude stops there.
    """
    mask = 256 - tf.bitwise.left_shift(1, 8 - tf.clip_by_value(bits, 0, 8))
    return tf.cast(tf.bitwise.bitwise_and(tf.cast(image, tf.int32), mask), tf.uint8)


def grey(image: tf.Tensor) -> tf.Tensor:
    """(H, W, 1), as Pillow's `convert("L")` weighs colours."""
    return crop.grey(image) if image.shape[-1] == 3 else image


def color(image: tf.Tensor, factor: tf.Tensor) -> tf.Tensor:
    """Between the grey image, at 0, and the image, at 1, or beyond it."""
    return _blend(grey(image), image, factor)


def contrast(image: tf.Tensor, factor: tf.Tensor) -> tf.Tensor:
    """Between its mean grey, at 0, and the image, at 1, or beyond it."""
    levels = tf.cast(grey(image), tf.int64)
    count = tf.cast(tf.size(levels), tf.float64)
    mean = tf.cast(tf.reduce_sum(levels), tf.float64) / count
    return _blend(tf.cast(mean + 0.5, tf.int32), image, factor)


def brightness(image: tf.Tensor, factor: tf.Tensor) -> tf.Tensor:
    """Between black, at 0, and the image, at 1, or beyond it."""
    return _blend(tf.zeros((), tf.uint8), image, factor)


def sharpness(image: tf.Tensor, factor: tf.Tensor) -> tf.Tensor:
    """Between the smoothed image, at 0, and the image, at 1, or beyond it."""
    return _blend(_smooth(image), image, factor)


def _blend(first: tf.Tensor, second: tf.Tensor, share: tf.Tensor) -> tf.Tensor:
    """Pillow's `Image.blend`: computed in float32, cut to bytes towards 0."""
    first, second = (tf.cast(image, tf.float32) for image in (first, second))
    mixed = first + tf.cast(share, tf.float32) * (second - first)
    return tf.cast(tf.clip_by_value(mixed, 0.0, 255.0), tf.uint8)


def _smooth(image: tf.Tensor) -> tf.Tensor:
    """Pillow's `SMOOTH`: the mean of 3 x 3, the middle 5 times; borders as they are."""
    padded = tf.pad(tf.cast(image, tf.int32), ((1, 1), (1, 1), (0, 0)))
    height, width = tf.shape(image)[0], tf.shape(image)[1]
    sums = 4 * tf.cast(image, tf.int32)
    for row in range(3):
        for column in range(3):
            sums += padded[row : row + height, column : column + width]
    smooth = tf.cast((2 * sums + 13) // 26, tf.uint8)  # rounded; halves do not occur
    rows, columns = tf.range(height), tf.range(width)
    inside = ((rows > 0) & (rows < height - 1))[:, None]
    inside &= (columns > 0) & (columns < width - 1)
    return tf.where(inside[..., None], smooth, image)


def _histograms(image: tf.Tensor) -> tf.Tensor:
    """How often each byte is in each channel: (C, 256) int32."""
    levels = tf.transpose(tf.reshape(tf.cast(image, tf.int32), (-1, image.shape[-1])))
    return tf.math.bincount(levels, minlength=256, maxlength=256, axis=-1)


def _looked_up(image: tf.Tensor, tables: tf.Tensor) -> tf.Tensor:
    """Each byte replaced by what its channel's table says, (C, 256) integers."""
    tables = tf.cast(tf.clip_by_value(tables, 0, 255), tf.uint8)
    channels = 256 * tf.range(image.shape[-1])
    return tf.gather(tf.reshape(tables, (-1,)), tf.cast(image, tf.int32) + channels)
