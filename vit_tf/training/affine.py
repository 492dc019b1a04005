"""Pillow's affine transform of an image of bytes, in TensorFlow's operations."""

import math

import tensorflow as tf

INTERPOLATIONS = ("bilinear", "bicubic")


@tf.function(autograph=False)  # for RandAugment, which calls it often, traced once
def affine(
    image: tf.Tensor,
    matrix: tf.Tensor,
    interpolation: str,
    fill: tuple[int, ...],
) -> tf.Tensor:
    """Pillow's `Image.transform(image.size, AFFINE, matrix)`, bit for bit.

    Source: Pillow, libImaging/Geometry.c.

    Args:
        image: (H, W, C) uint8.
        matrix: (6,) float64, a to f: a pixel (x, y) is read at
            (a x + b y + c, d x + e y + f).
        interpolation: "bilinear" or "bicubic".
        fill: A byte for each channel, where what is read lies outside.
    """
    shape = tf.shape(image)
    x = tf.range(shape[1], dtype=tf.float64)[None, :] + 0.5
    y = tf.range(shape[0], dtype=tf.float64)[:, None] + 0.5
    a, _, _, d, _, _ = tf.unstack(matrix, num=6)
    # Less what is negative: TensorFlow may change the order in which it adds.
    _, b, c, _, e, f = tf.unstack(-matrix, num=6)
    x, y = a * x - b * y - c, d * x - e * y - f  # (H, W)
    size = tf.cast(shape, tf.float64)
    inside = (x >= 0) & (x < size[1]) & (y >= 0) & (y < size[0])
    read = {"bilinear": _bilinear, "bicubic": _bicubic}[interpolation]
    levels = read(tf.cast(image, tf.float64), x - 0.5, y - 0.5)
    levels = tf.cast(tf.clip_by_value(levels, 0.0, 255.0), tf.uint8)
    return tf.where(inside[..., None], levels, tf.constant(fill, tf.uint8))


def rotate(
    image: tf.Tensor, degrees: tf.Tensor, interpolation: str, fill: tuple[int, ...]
) -> tf.Tensor:
    """Pillow's `Image.rotate`, counterclockwise about the centre.

    The angle's sine and cosine are TensorFlow's, and may differ from C's in the last
    bit. That shows where a pixel is read at the very middle of one, as the central
    pixel is where height and width are odd: its bytes may be one below Pillow's, or
    above.

    Args:
        image: (H, W, C) uint8.
        degrees: () float64.
        interpolation: "bilinear" or "bicubic".
        fill: A byte for each channel, where what is read lies outside.
    """
    angle = -tf.math.floormod(degrees, tf.constant(360, tf.float64)) * tf.constant(
        math.pi / 180, tf.float64
    )
    cos, sin = (_rounded(function(angle)) for function in (tf.cos, tf.sin))
    center = tf.cast(tf.shape(image), tf.float64) / 2.0
    x, y = center[1], center[0]
    c = cos * -x - sin * y + x
    f = sin * x - cos * y + y
    matrix = tf.stack([cos, sin, c, -sin, cos, f])
    return affine(image, matrix, interpolation, fill)


def _rounded(x: tf.Tensor) -> tf.Tensor:
    """To 15 decimals, so that a right angle's cosine is 0."""
    return tf.math.divide_no_nan(tf.round(x * 1e15), tf.constant(1e15, tf.float64))


def _bilinear(image: tf.Tensor, x: tf.Tensor, y: tf.Tensor) -> tf.Tensor:
    column, row = tf.floor(x), tf.floor(y)
    across, down = (x - column)[..., None], (y - row)[..., None]

    def along(offset: int) -> tf.Tensor:
        left, right = (_read(image, row + offset, column + step) for step in (0, 1))
        return left + (right - left) * across

    above, below = along(0), along(1)
    return above + (below - above) * down


def _bicubic(image: tf.Tensor, x: tf.Tensor, y: tf.Tensor) -> tf.Tensor:
    column, row = tf.floor(x), tf.floor(y)
    across, down = (x - column)[..., None], (y - row)[..., None]

    def along(offset: int) -> tf.Tensor:
        read = (_read(image, row + offset, column + step) for step in (-1, 0, 1, 2))
        return _cubic(*read, across)

    return _cubic(*(along(offset) for offset in (-1, 0, 1, 2)), down)


def _cubic(
    v1: tf.Tensor, v2: tf.Tensor, v3: tf.Tensor, v4: tf.Tensor, d: tf.Tensor
) -> tf.Tensor:
    p2 = v3 - v1
    p3 = 2.0 * (v1 - v2) + v3 - v4
    p4 = -v1 + v2 - v3 + v4
    return v2 + d * (p2 + d * (p3 + d * p4))


def _read(image: tf.Tensor, row: tf.Tensor, column: tf.Tensor) -> tf.Tensor:
    """Pixels, (H, W, C); outside of the image those of its border."""
    shape = tf.shape(image)
    row = tf.clip_by_value(tf.cast(row, tf.int32), 0, shape[0] - 1)
    column = tf.clip_by_value(tf.cast(column, tf.int32), 0, shape[1] - 1)
    pixels = tf.reshape(image, (-1, image.shape[-1]))
    return tf.gather(pixels, row * shape[1] + column)
