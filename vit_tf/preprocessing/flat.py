"""Images of several sizes as one row of values, which any client can send."""

import tensorflow as tf

from vit_tf.preprocessing.data_config import DataConfig
from vit_tf.preprocessing.transform import transform


def flatten(images: tf.Tensor | tf.RaggedTensor) -> tuple[tf.Tensor, tf.Tensor]:
    """A batch of pixels as `transform_flat` takes it.

    Args:
        images: (B, H, W, C) uint8, of one size or ragged.

    Returns:
        All values in a row, (N,) uint8, and (B, 2) int32: height and width of each.
    """
    if isinstance(images, tf.RaggedTensor):
        widths = tf.reduce_max(images.row_lengths(axis=2), axis=1)
        sizes = tf.stack([images.row_lengths(), widths], axis=1)
        return tf.reshape(images.flat_values, (-1,)), tf.cast(sizes, tf.int32)
    shape = tf.shape(images)
    return tf.reshape(images, (-1,)), tf.tile(shape[None, 1:3], (shape[0], 1))


def transform_flat(pixels: tf.Tensor, sizes: tf.Tensor, data: DataConfig) -> tf.Tensor:
    """Several images, whose values stand one behind the other.

    Args:
        pixels: (N,) uint8: each image's (H, W, C), in a row.
        sizes: (B, 2) integers: height and width of each.
        data: How images are transformed; it says what C is.

    Returns:
        (B, height, width, channels) float32.

    Raises:
        tf.errors.InvalidArgumentError: if there are not as many values as sizes say.
    """
    channels, height, width = data.input_size
    sizes = tf.cast(sizes, tf.int64)
    lengths = tf.reduce_prod(sizes, axis=1) * channels
    found, expected = tf.size(pixels, tf.int64), tf.reduce_sum(lengths)
    told = ["values in pixels found:", found, "; by sizes expected:", expected]
    as_many = tf.raw_ops.Assert(condition=found == expected, data=told)
    with tf.control_dependencies([as_many] if as_many is not None else []):
        pixels = tf.identity(pixels)

    def transformed(image: tuple[tf.Tensor, tf.Tensor, tf.Tensor]) -> tf.Tensor:
        start, length, size = image
        values = tf.slice(pixels, start[None], length[None])
        shape = tf.concat([size, tf.constant([channels], tf.int64)], axis=0)
        values = tf.ensure_shape(tf.reshape(values, shape), (None, None, channels))
        return transform(values, data)

    starts = tf.cumsum(lengths, exclusive=True)
    one = tf.TensorSpec((height, width, channels), tf.float32)
    return tf.map_fn(transformed, (starts, lengths, sizes), fn_output_signature=one)
