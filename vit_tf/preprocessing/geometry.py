"""Where timm's evaluation transform looks: the resized image, and the window in it.

Source: timm/data/transforms_factory.py `transforms_imagenet_eval`,
timm/data/transforms.py `ResizeKeepRatio` and `CenterCropOrPad`, torchvision's `Resize`
and `CenterCrop`.
"""

import math
from typing import NamedTuple

import tensorflow as tf

from vit_tf.preprocessing.data_config import DataConfig


class Window(NamedTuple):
    """A window in the resized image; each is (2,) int64, of height and width.

    Attributes:
        resized: The size of the whole resized image.
        start: Where the window begins in it.
        length: How long it is: the model's size, or less where the image is smaller.
        before: How much is filled before it, to the model's size.
    """

    resized: tf.Tensor
    start: tf.Tensor
    length: tf.Tensor
    before: tf.Tensor


def window(size: tf.Tensor, data: DataConfig) -> Window:
    """What of an image is seen.

    Args:
        size: (height, width) of the image, (2,) int64.
        data: How images are transformed.

    Raises:
        tf.errors.InvalidArgumentError: if an edge of the resized image has no pixel, as
            Pillow refuses too.
    """
    resized = _resized(size, data)
    kept = tf.constant(data.size, tf.int64)
    beyond = tf.maximum(resized - kept, 0)
    missing = tf.maximum(kept - resized, 0)
    half, odd = beyond // 2, beyond % 2
    start = half + odd * (half % 2)  # Python's round(beyond / 2): half to even
    return Window(resized, start, kept - missing, missing // 2)


def _resized(size: tf.Tensor, data: DataConfig) -> tf.Tensor:
    height, width = (math.floor(edge / data.crop_pct) for edge in data.size)
    if data.crop_mode == "squash":
        return tf.constant((height, width), tf.int64)
    if data.crop_mode == "center" and height == width:
        short = tf.reduce_min(size)
        return tf.where(
            size == short, tf.constant(height, tf.int64), height * size // short
        )
    # Not `/`: where a divisor is a constant, TensorFlow multiplies by its inverse.
    size = tf.cast(size, tf.float64)
    ratios = tf.math.divide_no_nan(size, tf.constant((height, width), tf.float64))
    longest = data.crop_mode == "border"
    ratio = tf.reduce_max(ratios) if longest else tf.reduce_min(ratios)
    resized = tf.cast(tf.round(size / ratio), tf.int64)
    told = ["an image so narrow that an edge of it, resized, has no pixel:", resized]
    seen = tf.raw_ops.Assert(condition=tf.reduce_min(resized) > 0, data=told)
    with tf.control_dependencies([seen] if seen is not None else []):
        return tf.maximum(resized, 1)  # what comes after is traced for 0 as well
