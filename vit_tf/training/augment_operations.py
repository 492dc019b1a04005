"""The operations that RandAugment chooses from, by timm's names.

Each takes an image, (H, W, C) uint8, what was drawn for it, and the bytes that come in
from outside. Source: timm/data/auto_augment.py.
"""

from collections.abc import Callable
from typing import NamedTuple

import tensorflow as tf

from vit_tf.training import affine, pillow

LEVELS = 10.0  # of a magnitude, of which an operation's largest argument is made
_TRANSLATION = 0.45  # of an edge, at the largest magnitude


class Draw(NamedTuple):
    """What is random in one operation.

    Attributes:
        magnitude: () float64, from 0.
        sign: () float64, 1 or -1.
        bicubic: () bool, where a transform resamples.
    """

    magnitude: tf.Tensor
    sign: tf.Tensor
    bicubic: tf.Tensor


Operation = Callable[[tf.Tensor, Draw, tuple[int, ...]], tf.Tensor]


def _part(draw: Draw) -> tf.Tensor:
    """Of the largest magnitude. Not `/`: TensorFlow would multiply by the inverse."""
    return tf.math.divide_no_nan(draw.magnitude, tf.constant(LEVELS, tf.float64))


def _whole(x: tf.Tensor) -> tf.Tensor:
    return tf.cast(x, tf.int32)


def _enhance(change: Callable[[tf.Tensor, tf.Tensor], tf.Tensor]) -> Operation:
    return lambda image, draw, fill: change(image, _part(draw) * 1.8 + 0.1)


def _enhance_more(change: Callable[[tf.Tensor, tf.Tensor], tf.Tensor]) -> Operation:
    return lambda image, draw, fill: change(
        image, tf.maximum(1.0 + draw.sign * (_part(draw) * 0.9), 0.1)
    )


def _moved(matrix: Callable[[tf.Tensor, tf.Tensor, tf.Tensor], list]) -> Operation:
    """An affine transform whose matrix is made of a part, with a sign, and the size."""

    def move(image: tf.Tensor, draw: Draw, fill: tuple[int, ...]) -> tf.Tensor:
        height, width = tf.unstack(tf.cast(tf.shape(image)[:2], tf.float64))
        entries = matrix(draw.sign * _part(draw), height, width)
        drawn = tf.stack([tf.cast(entry, tf.float64) for entry in entries])
        return tf.cond(
            draw.bicubic,
            lambda: affine.affine(image, drawn, "bicubic", fill),
            lambda: affine.affine(image, drawn, "bilinear", fill),
        )

    return move


def _rotate(image: tf.Tensor, draw: Draw, fill: tuple[int, ...]) -> tf.Tensor:
    degrees = draw.sign * _part(draw) * 30.0
    return tf.cond(
        draw.bicubic,
        lambda: affine.rotate(image, degrees, "bicubic", fill),
        lambda: affine.rotate(image, degrees, "bilinear", fill),
    )


OPERATIONS: dict[str, Operation] = {
    "AutoContrast": lambda image, draw, fill: pillow.autocontrast(image),
    "Equalize": lambda image, draw, fill: pillow.equalize(image),
    "Invert": lambda image, draw, fill: pillow.invert(image),
    "Rotate": _rotate,
    "Posterize": lambda image, draw, fill: pillow.posterize(
        image, _whole(_part(draw) * 4.0)
    ),
    "PosterizeIncreasing": lambda image, draw, fill: pillow.posterize(
        image, 4 - _whole(_part(draw) * 4.0)
    ),
    "PosterizeOriginal": lambda image, draw, fill: pillow.posterize(
        image, 4 + _whole(_part(draw) * 4.0)
    ),
    "Solarize": lambda image, draw, fill: pillow.solarize(
        image, tf.minimum(_whole(_part(draw) * 256.0), 256)
    ),
    "SolarizeIncreasing": lambda image, draw, fill: pillow.solarize(
        image, 256 - tf.minimum(_whole(_part(draw) * 256.0), 256)
    ),
    "SolarizeAdd": lambda image, draw, fill: pillow.solarize_add(
        image, tf.minimum(_whole(_part(draw) * 110.0), 128)
    ),
    "Color": _enhance(pillow.color),
    "ColorIncreasing": _enhance_more(pillow.color),
    "Contrast": _enhance(pillow.contrast),
    "ContrastIncreasing": _enhance_more(pillow.contrast),
    "Brightness": _enhance(pillow.brightness),
    "BrightnessIncreasing": _enhance_more(pillow.brightness),
    "Sharpness": _enhance(pillow.sharpness),
    "SharpnessIncreasing": _enhance_more(pillow.sharpness),
    "ShearX": _moved(lambda part, height, width: [1, part * 0.3, 0, 0, 1, 0]),
    "ShearY": _moved(lambda part, height, width: [1, 0, 0, part * 0.3, 1, 0]),
    "TranslateXRel": _moved(
        lambda part, height, width: [1, 0, part * _TRANSLATION * width, 0, 1, 0]
    ),
    "TranslateYRel": _moved(
        lambda part, height, width: [1, 0, 0, 0, 1, part * _TRANSLATION * height]
    ),
}
