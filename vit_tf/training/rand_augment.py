"""RandAugment as timm does it (https://arxiv.org/abs/1909.13719)."""

import dataclasses
import math
import re

import tensorflow as tf

from vit_tf.training import affine
from vit_tf.training.augment_operations import LEVELS, OPERATIONS, Draw
from vit_tf.training.fields import check_fields

FILL = (128, 128, 128)
INTERPOLATIONS = (*affine.INTERPOLATIONS, "random")
_SECTION = re.compile(r"(n|inc)(\d+)|(m|p|mstd|mmax)(\d+(?:\.\d+)?)|(t)(weights)")


@dataclasses.dataclass(frozen=True)
class RandAugment:
    """timm's `RandAugment`, on Pillow's operations: the same bytes for the same draws.

    Keras's `RandAugment` is another: it draws its operations once for a batch, from
    eleven with other ranges, computes all of them, always applies what it has drawn,
    and does not round pixels between.

    Source: timm/data/auto_augment.py.

    Attributes:
        transforms: What is chosen from: names of `OPERATIONS`, which are timm's.
        weights: How probable each of them is, relative to the others; nothing is chosen
            twice for an image then. By default all are alike, and may be.
        num_layers: How many are chosen for an image.
        prob: How probable each of them is to be applied.
        magnitude: From 0 to `magnitude_max`.
        magnitude_std: Of the magnitude's normal draws; `inf` draws from 0 to it evenly.
        magnitude_max: Where magnitudes are cut, whatever is drawn.
        interpolation: Of rotations, shears and translations: "bilinear", "bicubic" or
            "random" (either).
        fill: The bytes that come in from outside, one for each channel.

    Raises:
        ValueError: if a value is none of those; all that are not are listed.
    """

    transforms: tuple[str, ...]
    weights: tuple[float, ...] | None = None
    num_layers: int = 2
    prob: float = 0.5
    magnitude: float = LEVELS
    magnitude_std: float = 0.0
    magnitude_max: float = LEVELS
    interpolation: str = "random"
    fill: tuple[int, ...] = FILL

    def __post_init__(self) -> None:
        known = self.transforms and set(self.transforms) <= OPERATIONS.keys()
        weights = self.weights is None or (
            len(self.weights) == len(self.transforms) and min(self.weights) > 0
        )
        chosen = math.inf if self.weights is None else len(self.transforms)
        expected = {
            "transforms": (known, f"names of {tuple(OPERATIONS)}"),
            "weights": (weights, "one above 0 for each transform"),
            "num_layers": (0 < self.num_layers <= chosen, f"from 1 to {chosen}"),
            "prob": (0 <= self.prob <= 1, "from 0 to 1"),
            "fill": (all(0 <= byte <= 255 for byte in self.fill), "bytes"),
            "magnitude": (self.magnitude >= 0, "0 or above"),
            "magnitude_std": (self.magnitude_std >= 0, "0 or above"),
            "magnitude_max": (self.magnitude_max > 0, "above 0"),
            "interpolation": (
                self.interpolation in INTERPOLATIONS,
                f"one of {INTERPOLATIONS}",
            ),
        }
        check_fields(self, expected)

    def __call__(self, image: tf.Tensor, seed: tf.Tensor) -> tf.Tensor:
        """An image with what was drawn applied to it, in a graph (`Dataset.map`).

        Args:
            image: (H, W, C) uint8, with as many channels as `fill`.
            seed: (2,) integers: the same draw the same.
        """
        of_choice, of_layers = tf.unstack(tf.random.split(seed, 2))
        chosen = self._chosen(of_choice)
        seeds = tf.random.split(of_layers, self.num_layers)
        layer = tf.function(self._layer, autograph=False)  # traced once
        for number in range(self.num_layers):
            image = layer(image, chosen[number], seeds[number])
        return image

    def _chosen(self, seed: tf.Tensor) -> tf.Tensor:
        """(num_layers,) int32, which of the transforms."""
        if self.weights is None:
            return tf.random.stateless_uniform(
                (self.num_layers,), seed, 0, len(self.transforms), tf.int32
            )
        # The order of these is that of draws by weights, without anything drawn twice.
        logs = tf.constant([math.log(weight) for weight in self.weights], tf.float64)
        uniform = tf.random.stateless_uniform(
            logs.shape, seed, 1e-300, 1.0, dtype=tf.float64
        )
        gumbel = logs - tf.math.log(-tf.math.log(uniform))
        return tf.math.top_k(gumbel, self.num_layers).indices

    def _draw(self, seed: tf.Tensor) -> Draw:
        of_magnitude, of_sign, of_bicubic = tf.unstack(tf.random.split(seed, 3))
        if self.magnitude_std == math.inf:
            magnitude = tf.random.stateless_uniform(
                (), of_magnitude, 0.0, self.magnitude, tf.float64
            )
        else:
            magnitude = tf.random.stateless_normal(
                (), of_magnitude, self.magnitude, self.magnitude_std, tf.float64
            )
        magnitude = tf.clip_by_value(magnitude, 0.0, self.magnitude_max)
        up = tf.random.stateless_uniform((), of_sign) <= 0.5
        coin = tf.random.stateless_uniform((), of_bicubic) < 0.5
        bicubic = tf.constant(self.interpolation == "bicubic")
        if self.interpolation == "random":
            bicubic = coin
        sign = tf.where(up, tf.constant(1.0, tf.float64), -1.0)
        return Draw(magnitude, sign, bicubic)

    def _layer(self, image: tf.Tensor, index: tf.Tensor, seed: tf.Tensor) -> tf.Tensor:
        of_prob, of_draw = tf.unstack(tf.random.split(seed, 2))
        draw = self._draw(of_draw)
        branches = [
            lambda operation=OPERATIONS[name]: operation(image, draw, self.fill)
            for name in self.transforms
        ]
        changed = tf.cond(
            tf.random.stateless_uniform((), of_prob) <= self.prob,
            lambda: tf.switch_case(index, branches),
            lambda: image,
        )
        return tf.ensure_shape(changed, image.shape)


def rand_augment(
    config: str, *, interpolation: str = "random", fill: tuple[int, ...] = FILL
) -> RandAugment:
    """RandAugment as timm's configuration strings say it, e.g. "rand-m9-mstd0.5-inc1".

    Behind "rand", in any order: m (magnitude), n (number of layers), p (probability),
    mstd (above 100: `inf`), mmax, inc (1 for operations that grow with the magnitude)
    and t (a set of transforms; "weights" is the one here).

    Source: timm/data/auto_augment.py `rand_augment_transform`.

    Args:
        config: The string.
        interpolation: As of `RandAugment`.
        fill: As of `RandAugment`; timm takes the mean of its images.

    Raises:
        ValueError: naming what of the string is not known.
    """
    first, *sections = config.split("-")
    matches = [_SECTION.fullmatch(section) for section in sections]
    if first != "rand" or not all(matches):
        raise ValueError(
            f"auto_augment={config!r} found, rand-SECTION-... expected, with sections "
            "of m, n, p, mstd, mmax or inc and a number, or tweights"
        )
    found = dict(filter(None, match.groups()) for match in matches)
    numbers = {name: float(text) for name, text in found.items() if name != "t"}
    std = numbers.get("mstd", 0.0)
    if "t" in found:
        names, weights = tuple(_WEIGHTS), tuple(_WEIGHTS.values())
    else:
        names, weights = _INCREASING if numbers.get("inc") else _PLAIN, None
    return RandAugment(
        names,
        weights,
        num_layers=int(numbers.get("n", 2)),
        prob=numbers.get("p", 0.5),
        magnitude=numbers.get("m", LEVELS),
        magnitude_std=math.inf if std > 100 else std,
        magnitude_max=numbers.get("mmax", LEVELS),
        interpolation=interpolation,
        fill=fill,
    )


_PLAIN = (
    "AutoContrast", "Equalize", "Invert", "Rotate", "Posterize", "Solarize",
    "SolarizeAdd", "Color", "Contrast", "Brightness", "Sharpness", "ShearX", "ShearY",
    "TranslateXRel", "TranslateYRel",
)  # fmt: skip
_INCREASING = tuple(
    f"{name}Increasing" if f"{name}Increasing" in OPERATIONS else name
    for name in _PLAIN
)
_WEIGHTS = {
    "Rotate": 3, "ShearX": 2, "ShearY": 2, "TranslateXRel": 1, "TranslateYRel": 1,
    "ColorIncreasing": 0.25, "SharpnessIncreasing": 0.25, "AutoContrast": 0.25,
    "SolarizeIncreasing": 0.05, "SolarizeAdd": 0.05, "ContrastIncreasing": 0.05,
    "BrightnessIncreasing": 0.05, "Equalize": 0.05, "PosterizeIncreasing": 0.05,
    "Invert": 0.05,
}  # fmt: skip
