"""timm's evaluation transform, from an image to what a model takes."""

import functools
from collections.abc import Callable

import numpy as np
import tensorflow as tf

from vit_tf.preprocessing.data_config import DataConfig
from vit_tf.preprocessing.decode import decode
from vit_tf.preprocessing.geometry import Window, window
from vit_tf.preprocessing.resample import Weights, resample, resample_weights


def create_transform(data: DataConfig) -> Callable[[tf.Tensor], tf.Tensor]:
    """timm's `create_transform(is_training=False)`, bit for bit, as TensorFlow runs it.

    Args:
        data: How images are transformed.

    Returns:
        What makes one image (height, width, channels) float32: from the bytes of a
        file (() string: JPEG, PNG, BMP or WebP), or from pixels ((H, W, 3) uint8 of
        any size).
    """
    return functools.partial(transform, data=data)


def transform(image: tf.Tensor, data: DataConfig) -> tf.Tensor:
    """As `create_transform`."""
    return normalize(crop(image, data), data)


def transform_batch(images: tf.Tensor | tf.RaggedTensor, data: DataConfig) -> tf.Tensor:
    """Several images: (B,) string, or (B, H, W, 3) uint8, which may be ragged.

    Returns:
        (B, height, width, channels) float32.
    """
    channels, height, width = data.input_size
    one = tf.TensorSpec((height, width, channels), tf.float32)

    def transformed(image: tf.Tensor | tf.RaggedTensor) -> tf.Tensor:
        if isinstance(image, tf.RaggedTensor):
            image = image.to_tensor()
        return transform(image, data)

    return tf.map_fn(transformed, images, fn_output_signature=one)


def crop(image: tf.Tensor, data: DataConfig) -> tf.Tensor:
    """The resized and cropped image, (height, width, channels) uint8."""
    pixels = decode(image) if image.dtype == tf.string else image
    if data.input_size[0] == 1:
        pixels = _grey(pixels)
    size = tf.shape(pixels, tf.int64)[:2]
    seen = window(size, data)
    rows, columns = (
        resample_weights(
            size[i], seen.resized[i], seen.start[i], seen.length[i], data.interpolation
        )
        for i in range(2)
    )
    rows_first = _rows_first(size, seen.resized, data.pillow)
    cropped = tf.cond(
        rows_first,
        lambda: _columns(_rows(pixels, rows), columns),
        lambda: _rows(_columns(pixels, columns), rows),
    )
    cropped = cropped[: seen.length[0], : seen.length[1]]
    return _filled(cropped, seen, data)


def normalize(pixels: tf.Tensor, data: DataConfig) -> tf.Tensor:
    """Bytes as float32, scaled to 0..1, less the mean, by the standard deviation.

    Each step is rounded as in torch's `ToTensor` and `Normalize`.
    """
    # Not `/`: where a divisor is a constant, TensorFlow multiplies by its inverse.
    scaled = tf.math.divide_no_nan(tf.cast(pixels, tf.float32), tf.constant(255.0))
    mean, std = (np.array(values, np.float32) for values in (data.mean, data.std))
    return tf.math.divide_no_nan(scaled - mean, tf.constant(std))


def _rows(pixels: tf.Tensor, weights: Weights) -> tf.Tensor:
    shape = tf.shape(pixels)
    flat = tf.reshape(pixels, (shape[0], shape[1] * shape[2]))
    resampled = resample(flat, tf.constant(0, tf.int64), weights)
    return tf.reshape(resampled, (-1, shape[1], shape[2]))


def _columns(pixels: tf.Tensor, weights: Weights) -> tf.Tensor:
    return tf.transpose(_rows(tf.transpose(pixels, (1, 0, 2)), weights), (1, 0, 2))


def _rows_first(size: tf.Tensor, resized: tf.Tensor, pillow: str) -> tf.Tensor:
    """Whether Pillow resizes along the height before the width."""
    if pillow == "9.5":
        return tf.constant(False)
    if pillow == "12.2":
        return (size[0] > 100 * size[1]) & (resized[0] < size[0])
    less = size - resized
    return (less[0] > 0) & (less[0] > 2 * less[1])


def _filled(pixels: tf.Tensor, seen: Window, data: DataConfig) -> tf.Tensor:
    channels, height, width = data.input_size
    after = tf.constant(data.size, tf.int64) - seen.length - seen.before
    paddings = tf.pad(tf.stack([seen.before, after], axis=1), ((0, 1), (0, 0)))
    shape = (height, width, channels)
    if data.crop_mode != "border":
        return tf.ensure_shape(tf.pad(pixels, paddings), shape)
    fill = tf.constant([round(255 * mean) for mean in data.mean], tf.uint8)
    inside = tf.pad(tf.ones_like(pixels, tf.bool), paddings)
    return tf.ensure_shape(tf.where(inside, tf.pad(pixels, paddings), fill), shape)


def _grey(pixels: tf.Tensor) -> tf.Tensor:
    """(H, W, 3) to (H, W, 1), as Pillow's `convert("L")` weighs colours."""
    weights = tf.constant([19595, 38470, 7471])
    luma = tf.reduce_sum(tf.cast(pixels, tf.int32) * weights, axis=-1, keepdims=True)
    return tf.cast(tf.bitwise.right_shift(luma + 2**15, 16), tf.uint8)
