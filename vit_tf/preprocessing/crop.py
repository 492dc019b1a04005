"""An image resized and cropped as Pillow and torchvision do, bit for bit."""

import tensorflow as tf

from vit_tf.preprocessing.data_config import DataConfig
from vit_tf.preprocessing.decode import decode, decode_jpeg_window, is_jpeg
from vit_tf.preprocessing.geometry import Window, window
from vit_tf.preprocessing.resample import Weights, resample, resample_weights

_AROUND = 2  # pixels around a window that a JPEG's colours in it are mixed from


def crop(image: tf.Tensor, data: DataConfig) -> tf.Tensor:
    """What of an image is seen, in the model's size.

    Only what is seen is computed, and of a JPEG only that is decoded.

    Args:
        image: The bytes of a file, () string, or pixels, (H, W, 3) uint8.
        data: How images are transformed.

    Returns:
        (height, width, channels) uint8.
    """
    if image.dtype != tf.string:
        return _crop_pixels(image, data)
    return tf.cond(
        is_jpeg(image),
        lambda: _crop_jpeg(image, data),
        lambda: _crop_pixels(decode(image), data),
    )


def _crop_jpeg(encoded: tf.Tensor, data: DataConfig) -> tf.Tensor:
    size = tf.cast(tf.io.extract_jpeg_shape(encoded)[:2], tf.int64)
    seen, weights = _plan(size, data)
    low = tf.maximum(weights.low - _AROUND, 0)
    high = tf.minimum(weights.high + _AROUND, size)
    pixels = decode_jpeg_window(encoded, low, high)
    return _cropped(pixels, low, size, seen, weights, data)


def _crop_pixels(pixels: tf.Tensor, data: DataConfig) -> tf.Tensor:
    size = tf.shape(pixels, tf.int64)[:2]
    seen, weights = _plan(size, data)
    low, high = weights.low, weights.high
    pixels = pixels[low[0] : high[0], low[1] : high[1]]
    return _cropped(pixels, low, size, seen, weights, data)


def _plan(size: tf.Tensor, data: DataConfig) -> tuple[Window, Weights]:
    seen = window(size, data)
    outputs = max(data.size)
    weights = resample_weights(
        size, seen.resized, seen.start, seen.length, outputs, data.interpolation
    )
    return seen, weights


def _cropped(
    pixels: tf.Tensor,
    origin: tf.Tensor,
    size: tf.Tensor,
    seen: Window,
    weights: Weights,
    data: DataConfig,
) -> tf.Tensor:
    """The crop from the part of an image of this size that begins at `origin`."""
    if data.input_size[0] == 1:
        pixels = _grey(pixels)

    def rows(pixels: tf.Tensor) -> tf.Tensor:  # the pass along the height
        return resample(pixels, origin, weights, axis=0)[: seen.length[0]]

    def columns(pixels: tf.Tensor) -> tf.Tensor:
        turned = tf.transpose(pixels, (1, 0, 2))
        turned = resample(turned, origin, weights, axis=1)[: seen.length[1]]
        return tf.transpose(turned, (1, 0, 2))

    resampled = tf.cond(
        _rows_first(size, seen.resized, data.pillow),
        lambda: columns(rows(pixels)),
        lambda: rows(columns(pixels)),
    )
    return _filled(resampled, seen, data)


def _rows_first(size: tf.Tensor, resized: tf.Tensor, pillow: str) -> tf.Tensor:
    """Whether Pillow resizes along the height before the width."""
    if pillow == "9.5":
        return tf.constant(False)
    if pillow == "12.2":
        return (size[0] > 100 * size[1]) & (resized[0] < size[0])
    less = size - resized
    return (less[0] > 0) & (less[0] > 2 * less[1])


def _filled(pixels: tf.Tensor, seen: Window, data: DataConfig) -> tf.Tensor:
    """What is smaller than the model's size, in the middle of black or of the mean."""
    channels, height, width = data.input_size
    after = tf.constant(data.size, tf.int64) - seen.length - seen.before
    paddings = tf.pad(tf.stack([seen.before, after], axis=1), ((0, 1), (0, 0)))
    filled = tf.pad(pixels, paddings)
    if data.crop_mode == "border":
        inside = tf.pad(tf.ones_like(pixels, tf.bool), paddings)
        fill = tf.constant([round(255 * mean) for mean in data.mean], tf.uint8)
        filled = tf.where(inside, filled, fill)
    return tf.ensure_shape(filled, (height, width, channels))


def _grey(pixels: tf.Tensor) -> tf.Tensor:
    """(H, W, 3) to (H, W, 1), as Pillow's `convert("L")` weighs colours."""
    weights = tf.constant([19595, 38470, 7471])
    luma = tf.reduce_sum(tf.cast(pixels, tf.int32) * weights, axis=-1, keepdims=True)
    return tf.cast(tf.bitwise.right_shift(luma + 2**15, 16), tf.uint8)
