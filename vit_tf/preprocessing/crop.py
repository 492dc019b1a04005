"""An image resized and cropped as Pillow and torchvision do, bit for bit."""

import functools
from collections.abc import Callable

import tensorflow as tf

from vit_tf.preprocessing.data_config import DataConfig
from vit_tf.preprocessing.decode import (
    decode_jpeg_window,
    decode_other,
    is_jpeg,
    jpeg_size,
)
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
    size, part = _opened(image)
    seen = window(size, data)
    weights = resample_weights(size, seen, max(data.size), data.interpolation)
    pixels, origin = part(weights.low, weights.high)
    if data.input_size[0] == 1:
        pixels = grey(pixels)
    rows_first = _rows_first(size, seen.resized, data.pillow)
    resampled = _resampled(pixels, origin, weights, rows_first)
    return _filled(resampled[: seen.length[0], : seen.length[1]], seen, data)


def resized_crop(
    image: tf.Tensor,
    choose: Callable[[tf.Tensor], tf.Tensor],
    data: DataConfig,
    interpolation: str,
) -> tf.Tensor:
    """A box of an image in the model's size: torchvision's `resized_crop`.

    Pixels outside the box have no influence, and of a JPEG they are not decoded.

    Args:
        image: The bytes of a file, () string, or pixels, (H, W, 3) uint8.
        choose: What gives the box, (2, 2) int64, of an image of (height, width), (2,)
            int64: where it begins, top and left, and its height and width.
        data: The model's size and channels, and Pillow's order of passes.
        interpolation: Pillow's filter.

    Returns:
        (height, width, channels) uint8.
    """
    channels, height, width = data.input_size
    size, part = _opened(image)
    start, length = tf.unstack(choose(size), num=2)
    resized = tf.constant(data.size, tf.int64)
    nothing = tf.zeros_like(resized)
    whole = Window(resized, nothing, resized, nothing)
    weights = resample_weights(length, whole, max(data.size), interpolation)
    pixels, origin = part(start + weights.low, start + weights.high)
    if channels == 1:
        pixels = grey(pixels)
    rows_first = _rows_first(length, resized, data.pillow)
    resampled = _resampled(pixels, origin - start, weights, rows_first)
    return tf.ensure_shape(resampled[:height, :width], (height, width, channels))


def _opened(image: tf.Tensor) -> tuple[tf.Tensor, Callable]:
    """An image's size, (2,) int64, and what gives a part of it.

    That takes the part's first pixel and the one behind its last, (2,) int64 each, and
    gives at least this part, (N, M, 3) uint8, and which pixel it begins with.
    """
    if image.dtype != tf.string:
        return tf.shape(image, tf.int64)[:2], functools.partial(_cut, image)
    jpeg = is_jpeg(image)
    nothing = tf.zeros((0, 0, 3), tf.uint8)
    pixels = tf.cond(jpeg, lambda: nothing, lambda: decode_other(image))
    size = tf.cond(
        jpeg, lambda: jpeg_size(image), lambda: tf.shape(pixels, tf.int64)[:2]
    )

    def part(low: tf.Tensor, high: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        def decoded() -> tuple[tf.Tensor, tf.Tensor]:
            begin = tf.maximum(low - _AROUND, 0)
            end = tf.minimum(high + _AROUND, size)
            return decode_jpeg_window(image, begin, end), begin

        return tf.cond(jpeg, decoded, lambda: _cut(pixels, low, high))

    return size, part


def _cut(
    pixels: tf.Tensor, low: tf.Tensor, high: tf.Tensor
) -> tuple[tf.Tensor, tf.Tensor]:
    return pixels[low[0] : high[0], low[1] : high[1]], low


def _resampled(
    pixels: tf.Tensor, origin: tf.Tensor, weights: Weights, rows_first: tf.Tensor
) -> tf.Tensor:
    """Both passes, each along the first axis: the image is turned between them."""

    def turned(pixels: tf.Tensor) -> tf.Tensor:
        return tf.transpose(pixels, (1, 0, 2))

    first = tf.where(rows_first, tf.constant(0, tf.int64), 1)
    pixels = tf.cond(rows_first, lambda: pixels, lambda: turned(pixels))
    pixels = turned(resample(pixels, origin, weights, axis=first))
    pixels = resample(pixels, origin, weights, axis=1 - first)
    return tf.cond(rows_first, lambda: turned(pixels), lambda: pixels)


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


def grey(pixels: tf.Tensor) -> tf.Tensor:
    """(H, W, 3) uint8 to (H, W, 1), as Pillow's `convert("L")` weighs colours."""
    weights = tf.constant([19595, 38470, 7471])
    luma = tf.reduce_sum(tf.cast(pixels, tf.int32) * weights, axis=-1, keepdims=True)
    return tf.cast(tf.bitwise.right_shift(luma + 2**15, 16), tf.uint8)
