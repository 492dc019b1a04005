"""Brightness, contrast and saturation of an image, changed at random."""

import tensorflow as tf

from vit_tf.training import pillow

_CHANGES = (pillow.brightness, pillow.contrast, pillow.color)


def color_jitter(
    image: tf.Tensor, amounts: tuple[float, float, float], seed: tf.Tensor
) -> tf.Tensor:
    """torchvision's `ColorJitter` on Pillow's images, without its hue.

    Each change has a factor from 1 - amount (0 at least) to 1 + amount, and they come
    in a random order. Keras's `RandomColorJitter` has other factors, one order, and
    pixels that are not rounded between.

    Args:
        image: (H, W, C) uint8.
        amounts: Of brightness, contrast and saturation, from 0.
        seed: (2,) integers.
    """
    of_factors, of_order = tf.unstack(tf.random.split(seed, 2))
    drawn = tf.random.stateless_uniform((3,), of_factors, dtype=tf.float64)
    order = tf.argsort(tf.random.stateless_uniform((3,), of_order))
    factors = [
        max(0.0, 1 - amount) + part * (1 + amount - max(0.0, 1 - amount))
        for amount, part in zip(amounts, tf.unstack(drawn), strict=True)
    ]
    return changed(image, factors, order)


def changed(image: tf.Tensor, factors: list[tf.Tensor], order: tf.Tensor) -> tf.Tensor:
    """An image after the three changes, with a factor for each, in an order, (3,)."""
    shape = image.shape
    for number in range(len(_CHANGES)):
        image = tf.switch_case(
            order[number],
            [
                lambda image=image, change=change, factor=factor: change(image, factor)
                for change, factor in zip(_CHANGES, factors, strict=True)
            ],
        )
        image = tf.ensure_shape(image, shape)
    return image
