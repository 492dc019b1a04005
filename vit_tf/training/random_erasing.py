"""Random erasing of rectangles in an image (https://arxiv.org/abs/1708.04896)."""

import dataclasses
import math

import tensorflow as tf

from vit_tf.training.fields import check_fields

MODES = ("const", "rand", "pixel")
_ATTEMPTS = 10  # of a rectangle that fits


@dataclasses.dataclass(frozen=True)
class RandomErasing:
    """timm's `RandomErasing`: arguments, defaults and distributions are its own.

    Keras's layer of the name is another: it draws each edge by itself, whatever the
    rectangle's aspect, one rectangle with edges between pixels, noise that is cut to
    the images' range, and all from the state of a generator, not from a step's seed.

    Source: timm/data/random_erasing.py.

    Attributes:
        probability: That anything is erased in an image.
        min_area: The least part of the image that a rectangle covers.
        max_area: The largest; both are divided by the number of rectangles.
        min_aspect: The least height of a rectangle relative to its width.
        max_aspect: The largest; by default `1 / min_aspect`.
        mode: What is there instead: "const" (0), "rand" (a normal draw for each
            channel) or "pixel" (one for each value).
        min_count: The least number of rectangles.
        max_count: The largest; by default `min_count`.

    Raises:
        ValueError: if a value is none of those; all that are not are listed.
    """

    probability: float = 0.5
    min_area: float = 0.02
    max_area: float = 1 / 3
    min_aspect: float = 0.3
    max_aspect: float | None = None
    mode: str = "const"
    min_count: int = 1
    max_count: int | None = None

    def __post_init__(self) -> None:
        for name, default in (
            ("max_aspect", 1 / (self.min_aspect or math.inf)),
            ("max_count", self.min_count),
        ):
            if getattr(self, name) is None:
                object.__setattr__(self, name, default)
        areas = 0 < self.min_area <= self.max_area <= 1
        aspects = 0 < self.min_aspect <= self.max_aspect
        expected = {
            "probability": (0 <= self.probability <= 1, "from 0 to 1"),
            "min_area": (areas, "above 0, and no more than max_area, 1 at most,"),
            "min_aspect": (aspects, "above 0, and no more than max_aspect,"),
            "mode": (self.mode in MODES, f"one of {MODES}"),
            "min_count": (0 < self.min_count <= self.max_count, "1 to max_count"),
        }
        check_fields(self, expected)

    def __call__(self, image: tf.Tensor, seed: tf.Tensor) -> tf.Tensor:
        """An image with some of it erased.

        Args:
            image: (H, W, C), normalised.
            seed: (2,) integers: the same erase the same.
        """
        with tf.device("CPU:0"):  # the same draws wherever training runs
            of_boxes, of_fill = tf.unstack(tf.random.split(seed, 2))
            boxes = self.draw(tf.shape(image)[:2], of_boxes)
            for number in range(self.max_count):
                fill = self._fill(image, tf.random.fold_in(of_fill, number))
                image = erased(image, boxes[number], fill)
            return image

    def draw(self, size: tf.Tensor, seed: tf.Tensor) -> tf.Tensor:
        """What is erased: (max_count, 4) int32: top, left, height, width, or zeros.

        Args:
            size: (height, width) of the image, (2,) int32.
            seed: (2,) integers.
        """
        seeds = tf.unstack(tf.random.split(seed, 5))
        draws = (self.max_count, _ATTEMPTS)
        one = tf.random.stateless_uniform((), seeds[0], dtype=tf.float64)
        count = tf.random.stateless_uniform(
            (), seeds[1], self.min_count, self.max_count + 1, tf.int32
        )
        parts = tf.random.stateless_uniform(
            draws, seeds[2], self.min_area, self.max_area, tf.float64
        )
        areas = parts * tf.cast(tf.reduce_prod(size), tf.float64)
        areas = areas / tf.cast(count, tf.float64)
        log_low, log_high = math.log(self.min_aspect), math.log(self.max_aspect)
        aspects = tf.exp(
            tf.random.stateless_uniform(draws, seeds[3], log_low, log_high, tf.float64)
        )
        edges = tf.stack([tf.sqrt(areas * aspects), tf.sqrt(areas / aspects)], axis=-1)
        edges = tf.cast(tf.round(edges), tf.int32)
        fits = tf.reduce_all(edges < size, axis=-1)
        edges = tf.gather(edges, tf.argmax(fits, axis=-1), axis=1, batch_dims=1)
        place = tf.random.stateless_uniform(
            (self.max_count, 2), seeds[4], dtype=tf.float64
        )
        start = tf.cast(place * tf.cast(size - edges + 1, tf.float64), tf.int32)
        boxes = tf.concat([start, edges], axis=-1)
        erase = tf.reduce_any(fits, axis=-1) & (tf.range(self.max_count) < count)
        erase &= one <= self.probability
        return tf.where(erase[:, None], boxes, tf.zeros_like(boxes))

    def _fill(self, image: tf.Tensor, seed: tf.Tensor) -> tf.Tensor:
        if self.mode == "const":
            return tf.zeros((), image.dtype)
        shape = tf.shape(image) if self.mode == "pixel" else tf.shape(image)[-1:]
        return tf.random.stateless_normal(shape, seed, dtype=image.dtype)


def erased(image: tf.Tensor, box: tf.Tensor, fill: tf.Tensor) -> tf.Tensor:
    """An image with `fill` in a box.

    Args:
        image: (H, W, C).
        box: (4,) int32: top, left, height, width.
        fill: What (H, W, C) takes: () or (C,) or (H, W, C).
    """
    rows, columns = (tf.range(tf.shape(image)[axis]) for axis in (0, 1))
    inside = (rows >= box[0]) & (rows < box[0] + box[2])
    inside = inside[:, None] & (columns >= box[1]) & (columns < box[1] + box[3])
    return tf.where(inside[..., None], fill, image)
