"""Mixup and CutMix of a batch and its labels, as timm does them."""

import dataclasses
from typing import NamedTuple

import tensorflow as tf

from vit_tf.training.fields import check_fields

MODES = ("batch", "pair", "elem")


class Mixing(NamedTuple):
    """How each image of a batch is mixed with its partner.

    The partner of the i-th image is the i-th from the end.

    Attributes:
        lam: (B,) float64, the share that is the image's own.
        cut: (B,) bool: whether a box of the partner is pasted, or all is blended.
        box: (B, 4) int32: top, bottom, left and right of the box, in pixels.
    """

    lam: tf.Tensor
    cut: tf.Tensor
    box: tf.Tensor


@dataclasses.dataclass(frozen=True)
class Mixup:
    """timm's `Mixup`: arguments, defaults and distributions are its own.

    Keras's `MixUp` and `CutMix` are others. They draw a weight for each image in every
    case, partners by a permutation, and CutMix the alpha itself; its boxes lie inside
    the image, with edges between pixels; neither switches between the two or smooths
    labels, and draws are from the state of a generator, not from a step's seed.

    A batch may be of an odd size, which timm refuses: its middle image is its own
    partner.

    Source: timm/data/mixup.py; https://arxiv.org/abs/1710.09412 (mixup),
    https://arxiv.org/abs/1905.04899 (CutMix).

    Attributes:
        mixup_alpha: Mixup's share is drawn from Beta(alpha, alpha); 0 for no mixup.
        cutmix_alpha: Likewise CutMix's.
        cutmix_minmax: The least and the largest part of each edge that a box covers;
            boxes are then drawn by it, and `cutmix_alpha` counts as 1.
        prob: How probable it is that anything is mixed.
        switch_prob: How probable CutMix is where both are on.
        mode: What is drawn for "batch" (all images at once), "pair" (an image and its
            partner) or "elem" (each image).
        correct_lam: Whether the share is that of the box as the image's border cuts it.
        label_smoothing: Of the labels, before they are mixed.
        num_classes: Of the labels.

    Raises:
        ValueError: if a value is none of those; all that are not are listed.
    """

    mixup_alpha: float = 1.0
    cutmix_alpha: float = 0.0
    cutmix_minmax: tuple[float, float] | None = None
    prob: float = 1.0
    switch_prob: float = 0.5
    mode: str = "batch"
    correct_lam: bool = True
    label_smoothing: float = 0.1
    num_classes: int = 1000

    def __post_init__(self) -> None:
        if self.cutmix_minmax is not None:
            object.__setattr__(self, "cutmix_alpha", 1.0)
        low, high = self.cutmix_minmax or (0, 1)
        alphas = (self.mixup_alpha, self.cutmix_alpha)
        expected = {
            "mixup_alpha": (
                min(alphas) >= 0 < max(alphas),
                "it or cutmix_alpha above 0",
            ),
            "cutmix_minmax": (0 <= low < high <= 1, "(least, largest) from 0 to 1"),
            "prob": (0 <= self.prob <= 1, "from 0 to 1"),
            "switch_prob": (0 <= self.switch_prob <= 1, "from 0 to 1"),
            "mode": (self.mode in MODES, f"one of {MODES}"),
            "label_smoothing": (0 <= self.label_smoothing < 1, "from 0 to below 1"),
            "num_classes": (self.num_classes > 0, "above 0"),
        }
        check_fields(self, expected)

    def __call__(
        self, images: tf.Tensor, labels: tf.Tensor, seed: tf.Tensor
    ) -> tuple[tf.Tensor, tf.Tensor]:
        """A mixed batch.

        Args:
            images: (B, H, W, C), floating-point.
            labels: (B,) integers below `num_classes`.
            seed: (2,) integers, e.g. the run's and the step's: the same draw the same.

        Returns:
            The images, and their targets, (B, num_classes) of the images' dtype.

        Raises:
            ValueError: if images are bytes, or labels are no integers of one axis.
        """
        if not images.dtype.is_floating or len(labels.shape) != 1:
            raise ValueError(
                f"images of {images.dtype.name} and labels of shape {labels.shape} "
                "found; floating-point images and labels of shape (batch,) expected"
            )
        shape = tf.shape(images)
        mixing = self.draw(shape[0], shape[1:3], seed)
        targets = mixed_targets(
            labels, mixing.lam, self.num_classes, self.label_smoothing, images.dtype
        )
        return mixed_images(images, mixing), targets

    def draw(self, batch_size: tf.Tensor, size: tf.Tensor, seed: tf.Tensor) -> Mixing:
        """How a batch is mixed.

        Args:
            batch_size: B.
            size: (height, width), (2,) int32.
            seed: (2,) integers.
        """
        with tf.device("CPU:0"):  # the same draws wherever training runs
            count = {"batch": 1, "pair": (batch_size + 1) // 2, "elem": batch_size}
            few = self._draw(count[self.mode], size, seed)
            if self.mode == "batch":
                return Mixing(*(tf.repeat(x, batch_size, axis=0) for x in few))
            if self.mode == "pair":
                rest = batch_size // 2
                return Mixing(*(tf.concat([x, x[:rest][::-1]], axis=0) for x in few))
            return few

    def _draw(self, count: tf.Tensor, size: tf.Tensor, seed: tf.Tensor) -> Mixing:
        seeds = tf.unstack(tf.random.split(seed, 4))
        cut = _uniform(count, seeds[0]) < self._cut_prob()
        mixup_alpha, cutmix_alpha = (
            tf.constant(alpha, tf.float64)
            for alpha in (self.mixup_alpha, self.cutmix_alpha)
        )
        lam = _beta(tf.where(cut, cutmix_alpha, mixup_alpha), seeds[1])
        mixed = _uniform(count, seeds[2]) < self.prob
        lam = tf.where(mixed, lam, tf.ones_like(lam))
        cut &= lam < 1
        if self.cutmix_minmax is None:
            box = _box(size, lam, seeds[3])
        else:
            box = _box_between(size, self.cutmix_minmax, count, seeds[3])
        box = tf.where(cut[:, None], box, tf.zeros_like(box))
        if self.correct_lam or self.cutmix_minmax is not None:
            area = (box[:, 1] - box[:, 0]) * (box[:, 3] - box[:, 2])
            lam = tf.where(
                cut, 1.0 - tf.cast(area / tf.reduce_prod(size), lam.dtype), lam
            )
        return Mixing(lam, cut, box)

    def _cut_prob(self) -> float:
        if self.mixup_alpha > 0 and self.cutmix_alpha > 0:
            return self.switch_prob
        return 1.0 if self.cutmix_alpha > 0 else 0.0


def mixed_images(images: tf.Tensor, mixing: Mixing) -> tf.Tensor:
    """(B, H, W, C), each with its partner, as `mixing` says."""
    partners = images[::-1]
    lam, others = (
        tf.cast(share, images.dtype)[:, None, None, None]
        for share in (mixing.lam, 1.0 - mixing.lam)
    )
    inside = [
        (low[:, None] <= position) & (position < high[:, None])
        for position, low, high in (
            (tf.range(tf.shape(images)[1]), mixing.box[:, 0], mixing.box[:, 1]),
            (tf.range(tf.shape(images)[2]), mixing.box[:, 2], mixing.box[:, 3]),
        )
    ]
    inside = (inside[0][:, :, None] & inside[1][:, None, :])[..., None]
    return tf.where(
        mixing.cut[:, None, None, None],
        tf.where(inside, partners, images),
        images * lam + partners * others,
    )


def mixed_targets(
    labels: tf.Tensor,
    lam: tf.Tensor,
    num_classes: int,
    smoothing: float = 0.0,
    dtype: tf.DType = tf.float32,
) -> tf.Tensor:
    """The labels of a mixed batch, smoothed: (B, num_classes).

    Source: timm/data/mixup.py `mixup_target`.

    Args:
        labels: (B,) integers.
        lam: (B,) float64, the share of each one's own label.
        num_classes: Of the labels.
        smoothing: What is taken from a label, and given to all alike.
        dtype: Of the targets.
    """
    off = smoothing / num_classes
    targets = tf.one_hot(labels, num_classes, 1.0 - smoothing + off, off, dtype=dtype)
    own, others = (tf.cast(share, dtype)[:, None] for share in (lam, 1.0 - lam))
    return targets * own + targets[::-1] * others


def _box(size: tf.Tensor, lam: tf.Tensor, seed: tf.Tensor) -> tf.Tensor:
    """timm's `rand_bbox`: a part 1 - lam of the image, about any pixel of it."""
    edges = tf.cast(size, tf.float64)
    lengths = tf.cast(edges * tf.sqrt(1.0 - lam)[:, None], tf.int32)
    drawn = tf.random.stateless_uniform((tf.shape(lam)[0], 2), seed, dtype=tf.float64)
    centers = tf.cast(drawn * edges, tf.int32)
    low = tf.clip_by_value(centers - lengths // 2, 0, size)
    high = tf.clip_by_value(centers + (lengths + 1) // 2, 0, size)
    return tf.stack([low[:, 0], high[:, 0], low[:, 1], high[:, 1]], axis=1)


def _box_between(
    size: tf.Tensor, minmax: tuple[float, float], count: tf.Tensor, seed: tf.Tensor
) -> tf.Tensor:
    """timm's `rand_bbox_minmax`: each edge a part of the image's, anywhere inside."""
    least, most = (
        tf.cast(tf.cast(size, tf.float64) * tf.constant(part, tf.float64), tf.int32)
        for part in minmax
    )
    drawn = tf.random.stateless_uniform((2, count, 2), seed, dtype=tf.float64)
    lengths = least + tf.cast(drawn[0] * tf.cast(most - least, tf.float64), tf.int32)
    free = tf.cast(size - lengths + 1, tf.float64)
    low = tf.cast(drawn[1] * free, tf.int32)
    high = low + lengths
    return tf.stack([low[:, 0], high[:, 0], low[:, 1], high[:, 1]], axis=1)


def _uniform(count: tf.Tensor, seed: tf.Tensor) -> tf.Tensor:
    return tf.random.stateless_uniform((count,), seed, dtype=tf.float64)


def _beta(alpha: tf.Tensor, seed: tf.Tensor) -> tf.Tensor:
    """Draws from Beta(alpha, alpha), for each alpha; also where it is close to 0.

    Of two gammas the share of the first. Their logarithms are drawn, because small
    alphas make gammas that are 0: Gamma(a) is Gamma(a + 1) U^(1 / a).
    """

    def log_gamma(seed: tf.Tensor) -> tf.Tensor:
        of_gamma, of_uniform = tf.unstack(tf.random.split(seed, 2))
        shape = tf.shape(alpha)
        gamma = tf.random.stateless_gamma(
            shape, of_gamma, alpha + 1.0, dtype=tf.float64
        )
        uniform = tf.random.stateless_uniform(shape, of_uniform, dtype=tf.float64)
        return tf.math.log(gamma) + tf.math.log1p(-uniform) / alpha

    first, second = tf.unstack(tf.random.split(seed, 2))
    return tf.sigmoid(log_gamma(first) - log_gamma(second))
