"""BMP files as Pillow decodes them; `tf.io.decode_bmp` reads no palette."""

from typing import NamedTuple

import tensorflow as tf

_EXPECTED = (
    "A whole BMP of 1, 4, 8, 24 or 32 bits per pixel, not compressed, expected; found:"
)
_HEADERS = 54  # bytes of the file's header and of a bitmap's smallest
_PLAIN, _MASKS = 0, 3  # kinds of compression
_BLUE_GREEN_RED = b"\0\0\xff\0\0\xff\0\0\xff\0\0\0"


class _Header(NamedTuple):
    """What a BMP says of itself; each is () int64."""

    start: tf.Tensor  # of the pixels
    size: tf.Tensor  # of the header itself
    width: tf.Tensor
    height: tf.Tensor  # negative where the first row comes first
    bits: tf.Tensor
    compression: tf.Tensor
    colours: tf.Tensor  # in the palette; 0 for as many as there can be


def decode_bmp(encoded: tf.Tensor) -> tf.Tensor:
    """A BMP's pixels, equal to Pillow's `Image.open(file).convert("RGB")`.

    Args:
        encoded: () string: 24 or 32 bits per pixel, or a palette of 1, 4 or 8.

    Returns:
        (H, W, 3) uint8.

    Raises:
        tf.errors.InvalidArgumentError: if it is of another kind, compressed or broken.
    """
    header = _header(encoded)
    row = (header.width * header.bits + 7) // 8
    stride = (row + 3) // 4 * 4
    end = header.start + stride * (tf.abs(header.height) - 1) + row
    whole = (header.width > 0) & (header.start >= _HEADERS)
    whole &= (header.height != 0) & (end <= _length(encoded))
    return tf.cond(
        whole & _is_known(header, encoded),
        lambda: _pixels(encoded, header, stride),
        lambda: _refused(header, encoded),
    )


def _length(encoded: tf.Tensor) -> tf.Tensor:
    return tf.cast(tf.strings.length(encoded), tf.int64)


def _header(encoded: tf.Tensor) -> _Header:
    """Of a file that is too short, what is missing is 0."""
    numbers = tf.strings.substr(encoded + bytes(_HEADERS), 2, _HEADERS - 2)
    numbers = tf.cast(tf.io.decode_raw(numbers, tf.int32), tf.int64)
    start, size, width, height, bits, compression = tf.unstack(numbers[2:8], 6)
    bits = bits // 2**16  # behind the number of planes
    return _Header(start, size, width, height, bits, compression, numbers[11])


def _is_known(header: _Header, encoded: tf.Tensor) -> tf.Tensor:
    of_palette = tf.reduce_any(header.bits == (1, 4, 8))
    of_colours = tf.reduce_any(header.bits == (24, 32))
    order = tf.strings.substr(encoded + bytes(_HEADERS + 12), _HEADERS, 12)
    masked = (header.compression == _MASKS) & (order == _BLUE_GREEN_RED)
    plain = header.compression == _PLAIN
    known = (of_palette & plain) | (of_colours & (plain | masked))
    return known & (header.size >= 40)


def _refused(header: _Header, encoded: tf.Tensor) -> tf.Tensor:
    names = ", ".join(f"{name}={{}}" for name in _Header._fields)
    found = tf.strings.format(names, list(header))
    told = [_EXPECTED, found, "bytes:", _length(encoded)]
    tf.raw_ops.Assert(condition=False, data=told)
    return tf.zeros((0, 0, 3), tf.uint8)


def _pixels(encoded: tf.Tensor, header: _Header, stride: tf.Tensor) -> tf.Tensor:
    data = tf.io.decode_raw(encoded + bytes(3), tf.uint8)  # the last row may be short
    end = header.start + stride * tf.abs(header.height)
    rows = tf.reshape(data[header.start : end], (-1, stride))
    rows = tf.cond(header.height > 0, lambda: rows[::-1], lambda: rows)
    return tf.cond(
        header.bits > 8,
        lambda: _colours(rows, header),
        lambda: tf.gather(_palette(data, header), _indices(rows, header)),
    )


def _colours(rows: tf.Tensor, header: _Header) -> tf.Tensor:
    size = header.bits // 8
    rows = rows[:, : header.width * size]
    return tf.reshape(rows, (-1, header.width, size))[..., 2::-1]


def _palette(data: tf.Tensor, header: _Header) -> tf.Tensor:
    most = tf.bitwise.left_shift(tf.constant(1, tf.int64), header.bits)
    colours = tf.where(header.colours > 0, header.colours, most)
    start = 14 + header.size
    palette = tf.reshape(data[start : start + 4 * colours], (-1, 4))[:, 2::-1]
    return tf.pad(palette, ((0, 256), (0, 0)))  # what it lacks is black, as in Pillow


def _indices(rows: tf.Tensor, header: _Header) -> tf.Tensor:
    bits = tf.cast(header.bits, tf.int32)
    shifts = tf.range(8 - bits, -1, -bits)  # the first pixel is in the highest bits
    values = tf.bitwise.right_shift(tf.cast(rows, tf.int32)[..., None], shifts)
    values = tf.bitwise.bitwise_and(values, tf.bitwise.left_shift(1, bits) - 1)
    return tf.reshape(values, (tf.shape(rows)[0], -1))[:, : header.width]
