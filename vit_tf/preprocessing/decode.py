"""Encoded images as Pillow decodes them: JPEG, PNG, BMP and WebP to (H, W, 3) uint8."""

import tensorflow as tf


def decode(encoded: tf.Tensor) -> tf.Tensor:
    """A file's bytes as pixels, equal to Pillow's `Image.open(file).convert("RGB")`.

    An orientation in EXIF turns nothing, as in Pillow. JPEGs in CMYK are up to one
    level off: their conversion to RGB is another in Pillow.

    Args:
        encoded: () string.

    Returns:
        (H, W, 3) uint8.

    Raises:
        tf.errors.InvalidArgumentError: if it is no JPEG, PNG, BMP or WebP, or broken.
    """
    start = tf.strings.substr(encoded, 0, 2)
    kind = tf.where(start == b"BM", 1, tf.where(start == b"RI", 2, 0))
    pixels = tf.switch_case(
        kind,
        [
            lambda: _jpeg_or_png(encoded),
            lambda: tf.io.decode_bmp(encoded, channels=3),
            lambda: tf.io.decode_webp(encoded, channels=3),
        ],
    )
    return tf.ensure_shape(pixels, (None, None, 3))


def is_jpeg(encoded: tf.Tensor) -> tf.Tensor:
    """Whether a file's bytes begin as a JPEG's do."""
    return tf.strings.substr(encoded, 0, 3) == b"\xff\xd8\xff"


def jpeg_size(encoded: tf.Tensor) -> tf.Tensor:
    """(height, width) of a JPEG, (2,) int64."""
    return tf.cast(tf.io.extract_jpeg_shape(encoded)[:2], tf.int64)


def decode_jpeg_window(
    encoded: tf.Tensor, low: tf.Tensor, high: tf.Tensor
) -> tf.Tensor:
    """As `decode`, of a JPEG: the pixels from `low` to before `high`, (2,) int64."""
    window = tf.cast(tf.concat([low, high - low], axis=0), tf.int32)
    return tf.io.decode_and_crop_jpeg(
        encoded, window, channels=3, fancy_upscaling=True, dct_method="INTEGER_ACCURATE"
    )


def _jpeg_or_png(encoded: tf.Tensor) -> tf.Tensor:
    grey_16 = tf.strings.substr(encoded, 24, 2) == b"\x10\x00"
    png = tf.strings.substr(encoded, 0, 4) == b"\x89PNG"
    return tf.cond(
        png & grey_16,
        lambda: _png_of_16_bit_grey(encoded),
        lambda: tf.io.decode_jpeg(
            encoded, channels=3, fancy_upscaling=True, dct_method="INTEGER_ACCURATE"
        ),
    )


def _png_of_16_bit_grey(encoded: tf.Tensor) -> tf.Tensor:
    """Pillow clips its values at 255."""
    grey = tf.io.decode_png(encoded, channels=1, dtype=tf.uint16)
    grey = tf.cast(tf.minimum(tf.cast(grey, tf.int32), 255), tf.uint8)
    return tf.tile(grey, (1, 1, 3))
