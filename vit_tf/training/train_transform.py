"""timm's training transform, from an image to what a model takes."""

import dataclasses
from collections.abc import Callable

import tensorflow as tf

from vit_tf.preprocessing import DataConfig
from vit_tf.preprocessing.crop import resized_crop
from vit_tf.preprocessing.normalize import normalize
from vit_tf.training import pillow
from vit_tf.training.color_jitter import color_jitter
from vit_tf.training.fields import check_fields
from vit_tf.training.rand_augment import INTERPOLATIONS, RandAugment, rand_augment
from vit_tf.training.random_erasing import RandomErasing
from vit_tf.training.random_resized_crop import RATIO, SCALE, draw_box

Step = Callable[[tf.Tensor, tf.Tensor], tf.Tensor]


@dataclasses.dataclass(frozen=True)
class TrainTransform:
    """timm's `create_transform(is_training=True)`, as TensorFlow runs it.

    A random box of the image in the model's size, flips, RandAugment or else colour
    jitter, grey, the normalisation, random erasing: the same distributions, and for the
    same draws the same bytes as Pillow's. Arguments have timm's names and defaults;
    what timm reads from a model's data configuration is `data`. Of timm's there are
    not: other crops than "rrc", AutoAugment and AugMix, hue, and blur.

        transform = TrainTransform(data, auto_augment="rand-m9-mstd0.5-inc1")
        images = files.enumerate().map(lambda i, file: transform(file, (0, i)))

    Source: timm/data/transforms_factory.py `transforms_imagenet_train`.

    Attributes:
        data: The model's size, channels and normalisation, and the interpolation.
        scale: The least and the largest part of the image's area that is seen.
        ratio: The least and the largest width of it relative to its height.
        hflip: How probable it is that left and right are swapped.
        vflip: Likewise top and bottom.
        color_jitter: How much brightness, contrast and saturation change, one number or
            three; None for nothing. It is off where `auto_augment` is on.
        color_jitter_prob: How probable that is; None for always.
        grayscale_prob: How probable an image is made grey.
        auto_augment: RandAugment as timm writes it, "rand-m9-mstd0.5-inc1" (see
            `rand_augment`), or None.
        interpolation: "bilinear", "bicubic", "lanczos" or "random" (one of the first
            two); by default that of `data`.
        re_prob: How probable it is that something is erased.
        re_mode: What is there instead (see `RandomErasing`).
        re_count: How many rectangles are erased at most.

    Raises:
        ValueError: if a value is none of those.
    """

    data: DataConfig
    scale: tuple[float, float] = SCALE
    ratio: tuple[float, float] = RATIO
    hflip: float = 0.5
    vflip: float = 0.0
    color_jitter: float | tuple[float, float, float] | None = 0.4
    color_jitter_prob: float | None = None
    grayscale_prob: float = 0.0
    auto_augment: str | None = None
    interpolation: str | None = None
    re_prob: float = 0.0
    re_mode: str = "const"
    re_count: int = 1

    def __post_init__(self) -> None:
        if self.interpolation is None:
            object.__setattr__(self, "interpolation", self.data.interpolation)
        if isinstance(self.color_jitter, (int, float)):
            object.__setattr__(self, "color_jitter", (self.color_jitter,) * 3)
        amounts = self.color_jitter or (0, 0, 0)
        known = INTERPOLATIONS if self.auto_augment else (*INTERPOLATIONS, "lanczos")
        expected = {
            "scale": (0 < self.scale[0] <= self.scale[1] <= 1, "(least, largest) to 1"),
            "ratio": (0 < self.ratio[0] <= self.ratio[1], "(least, largest) above 0"),
            "color_jitter": (
                len(amounts) == 3 and min(amounts) >= 0,
                "a number from 0, or three (timm's fourth, hue, is not here),",
            ),
            "interpolation": (self.interpolation in known, f"one of {known}"),
            **{
                name: (0 <= (getattr(self, name) or 0) <= 1, "from 0 to 1")
                for name in ("hflip", "vflip", "color_jitter_prob", "grayscale_prob")
            },
        }
        check_fields(self, expected)
        self.rand_augment()  # which checks its own arguments,
        self.random_erasing()  # as this does

    @tf.autograph.experimental.do_not_convert
    def __call__(self, image: tf.Tensor, seed: tf.Tensor) -> tf.Tensor:
        """What a model is trained on.

        Args:
            image: The bytes of a file (() string: JPEG, PNG, BMP or WebP), or pixels
                ((H, W, 3) uint8 of any size).
            seed: (2,) integers, e.g. the run's and the image's number: the same give
                the same, so that a run that is resumed sees what it would have.

        Returns:
            (height, width, channels) float32.

        Raises:
            ValueError: if the image is neither a file nor pixels.
        """
        if (dtype := tf.as_dtype(image.dtype)) not in (tf.string, tf.uint8):
            raise ValueError(
                f"image: {dtype.name} found, string (the bytes of a file) or uint8 "
                "(pixels from 0 to 255) expected"
            )
        # On a GPU products of float32 are rounded to fewer bits; files are on the CPU.
        with tf.device("CPU:0"):
            seeds = tf.unstack(tf.random.split(seed, 7))
            pixels = self._cropped(image, seeds[0])
            for step, one in zip(self._steps(), seeds[1:6], strict=True):
                pixels = tf.ensure_shape(step(pixels, one), pixels.shape)
            erasing = self.random_erasing()
            return erasing(normalize(pixels, self.data), seeds[6])

    def rand_augment(self) -> RandAugment | None:
        """What `auto_augment` says; what comes in from outside is the images' mean."""
        if not self.auto_augment:
            return None
        fill = tuple(min(255, round(255 * mean)) for mean in self.data.mean)
        return rand_augment(
            self.auto_augment, interpolation=self.interpolation, fill=fill
        )

    def random_erasing(self) -> RandomErasing:
        return RandomErasing(self.re_prob, mode=self.re_mode, max_count=self.re_count)

    def _steps(self) -> tuple[Step, ...]:
        """What becomes of the box's bytes, from bytes to bytes."""
        jitter = self.color_jitter is not None and not self.auto_augment
        jitter_prob = 1.0 if self.color_jitter_prob is None else self.color_jitter_prob
        return (
            _maybe(self.hflip, lambda pixels, seed: pixels[:, ::-1]),
            _maybe(self.vflip, lambda pixels, seed: pixels[::-1]),
            self.rand_augment() or _same,
            _maybe(
                jitter_prob if jitter else 0.0,
                lambda pixels, seed: color_jitter(pixels, self.color_jitter, seed),
            ),
            _maybe(
                self.grayscale_prob,
                lambda pixels, seed: tf.broadcast_to(pillow.grey(pixels), pixels.shape),
            ),
        )

    def _cropped(self, image: tf.Tensor, seed: tf.Tensor) -> tf.Tensor:
        of_box, of_coin = tf.unstack(tf.random.split(seed, 2))

        def crop(interpolation: str) -> tf.Tensor:
            return resized_crop(
                image,
                lambda size: draw_box(size, self.scale, self.ratio, of_box),
                self.data,
                interpolation,
            )

        if self.interpolation != "random":
            return crop(self.interpolation)
        return tf.cond(
            tf.random.stateless_uniform((), of_coin) < 0.5,
            lambda: crop("bilinear"),
            lambda: crop("bicubic"),
        )


def _same(pixels: tf.Tensor, seed: tf.Tensor) -> tf.Tensor:
    return pixels


def _maybe(prob: float, step: Step) -> Step:
    """A step that is made with a probability."""
    if prob == 0:
        return _same

    def either(pixels: tf.Tensor, seed: tf.Tensor) -> tf.Tensor:
        of_coin, of_step = tf.unstack(tf.random.split(seed, 2))
        return tf.cond(
            tf.random.stateless_uniform((), of_coin) < prob,
            lambda: step(pixels, of_step),
            lambda: pixels,
        )

    return either
