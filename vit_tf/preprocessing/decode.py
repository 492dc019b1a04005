"""Encoded images as Pillow decodes them: JPEG, PNG, BMP and WebP to (H, W, 3) uint8."""

import tensorflow as tf

from vit_tf.preprocessing.bmp import decode_bmp

# How libjpeg decodes for Pillow; TensorFlow's default is a faster, other transform.
_JPEG = {"fancy_upscaling": True, "dct_method": "INTEGER_ACCURATE"}
_ADOBE = b"\xff\xee\x00\x0eAdobe\x00\x64\x00\x00\x00\x00\x00"  # the colours as stored
_HEAD = 26  # bytes that tell what a file is


def decode(encoded: tf.Tensor) -> tf.Tensor:
    """A file's bytes as pixels, equal to Pillow's `Image.open(file).convert("RGB")`.

    An orientation in EXIF turns nothing, and transparency is ignored, as in Pillow.
    JPEGs in CMYK are up to one level off: their conversion to RGB is another in Pillow.

    Args:
        encoded: () string.

    Returns:
        (H, W, 3) uint8.

    Raises:
        tf.errors.InvalidArgumentError: if it is no JPEG, PNG, BMP or still WebP, or
            broken.
    """
    return tf.cond(
        is_jpeg(encoded), lambda: _jpeg(encoded), lambda: decode_other(encoded)
    )


def decode_other(encoded: tf.Tensor) -> tf.Tensor:
    """As `decode`, of what is no JPEG."""
    head = _head(encoded)
    png = tf.strings.substr(head, 0, 8) == b"\x89PNG\r\n\x1a\n"
    grey_16 = tf.strings.substr(head, 24, 2) == b"\x10\x00"
    bmp = tf.strings.substr(head, 0, 2) == b"BM"
    pixels = tf.case(
        [
            (png & grey_16, lambda: _png_of_16_bit_grey(encoded)),
            (png, lambda: tf.io.decode_png(encoded, channels=3)),
            (bmp, lambda: decode_bmp(encoded)),
            (_is_still_webp(head), lambda: _webp(encoded)),
        ],
        default=lambda: _refused(encoded),
    )
    return tf.ensure_shape(pixels, (None, None, 3))


def is_jpeg(encoded: tf.Tensor) -> tf.Tensor:
    """Whether a file begins as a JPEG does, () bool."""
    return tf.strings.substr(encoded, 0, 3) == b"\xff\xd8\xff"


def jpeg_size(encoded: tf.Tensor) -> tf.Tensor:
    """(height, width) of a JPEG, (2,) int64."""
    return tf.cast(tf.io.extract_jpeg_shape(encoded)[:2], tf.int64)


def decode_jpeg_window(
    encoded: tf.Tensor, low: tf.Tensor, high: tf.Tensor
) -> tf.Tensor:
    """As `decode`, of a JPEG: the pixels from `low` to before `high`, (2,) int64.

    Colours are stored coarser than brightness and mixed with their neighbours, which
    may be outside: the outermost two pixels are others than in the whole image, but for
    where its own edge is.
    """
    window = tf.cast(tf.concat([low, high - low], axis=0), tf.int32)
    return tf.io.decode_and_crop_jpeg(repaired(encoded), window, channels=3, **_JPEG)


def repaired(encoded: tf.Tensor) -> tf.Tensor:
    """A JPEG as TensorFlow must read it to see what Pillow sees, () string.

    Inks are stored inverted. Pillow always knows that; TensorFlow takes it from Adobe's
    marker alone, which is put in front of JPEGs of four components. One that a file has
    itself comes later, and counts.
    """

    def marked() -> tf.Tensor:
        rest = tf.strings.substr(encoded, 2, tf.strings.length(encoded))
        return tf.strings.join([b"\xff\xd8" + _ADOBE, rest])

    inks = tf.io.extract_jpeg_shape(encoded)[2] == 4
    return tf.cond(inks, marked, lambda: tf.identity(encoded))


def _head(encoded: tf.Tensor) -> tf.Tensor:
    """The first bytes, and zeros where there are fewer."""
    start = tf.strings.substr(encoded, 0, _HEAD)
    return tf.strings.substr(start + bytes(_HEAD), 0, _HEAD)


def _jpeg(encoded: tf.Tensor) -> tf.Tensor:
    return tf.io.decode_jpeg(repaired(encoded), channels=3, **_JPEG)


def _png_of_16_bit_grey(encoded: tf.Tensor) -> tf.Tensor:
    """Pillow clips its values at 255."""
    grey = tf.io.decode_png(encoded, channels=1, dtype=tf.uint16)
    grey = tf.cast(tf.minimum(tf.cast(grey, tf.int32), 255), tf.uint8)
    return tf.tile(grey, (1, 1, 3))


def _is_still_webp(head: tf.Tensor) -> tf.Tensor:
    """An animation is not for TensorFlow: of some, it writes beyond its memory."""
    webp = tf.strings.regex_full_match(head, r"(?s)RIFF\C{4}WEBP\C*")
    extended = tf.strings.substr(head, 12, 4) == b"VP8X"
    flags = tf.io.decode_raw(tf.strings.substr(head, 20, 1), tf.uint8)[0]
    animated = tf.bitwise.bitwise_and(flags, 2) != 0
    return webp & ~(extended & animated)


def _webp(encoded: tf.Tensor) -> tf.Tensor:
    return tf.io.decode_webp(encoded, channels=0)[0, ..., :3]  # of its only frame


def _refused(encoded: tf.Tensor) -> tf.Tensor:
    expected = "A JPEG, PNG, BMP or WebP of one still image expected; found:"
    start = tf.strings.substr(encoded, 0, 16)
    readable = tf.strings.unicode_transcode(start, "ISO-8859-1", "UTF-8")
    size = tf.strings.length(encoded)
    told = [expected, size, "bytes that begin with", readable]
    tf.raw_ops.Assert(condition=False, data=told)  # here nothing needs a guard
    return tf.zeros((0, 0, 3), tf.uint8)
