"""timm's evaluation transform, from an image to what a model takes."""

from collections.abc import Callable

import tensorflow as tf

from vit_tf.preprocessing.crop import crop
from vit_tf.preprocessing.data_config import DataConfig
from vit_tf.preprocessing.normalize import normalize


def create_transform(data: DataConfig) -> Callable[[tf.Tensor], tf.Tensor]:
    """timm's `create_transform(is_training=False)`, bit for bit, as TensorFlow runs it.

    Args:
        data: How images are transformed.

    Returns:
        What makes one image (height, width, channels) float32: from the bytes of a
        file (() string: JPEG, PNG, BMP or WebP), or from pixels ((H, W, 3) uint8 of
        any size).
    """

    def transformed(image: tf.Tensor) -> tf.Tensor:
        return transform(image, data)

    return transformed


@tf.autograph.experimental.do_not_convert
def transform(image: tf.Tensor, data: DataConfig) -> tf.Tensor:
    """As `create_transform`.

    Raises:
        ValueError: if the image is neither a file nor pixels.
    """
    if (dtype := tf.as_dtype(image.dtype)) not in (tf.string, tf.uint8):
        raise ValueError(
            f"image: {dtype.name} found, string (the bytes of a file) or uint8 (pixels "
            "from 0 to 255) expected"
        )
    # On a GPU products of float32 are rounded to fewer bits, and files cannot be read.
    with tf.device("CPU:0"):
        return normalize(crop(image, data), data)


@tf.autograph.experimental.do_not_convert
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
