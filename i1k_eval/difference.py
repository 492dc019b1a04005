"""Where the ported model's answer to an image begins to differ from the original's."""

import dataclasses
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from i1k_eval.predictions import Difference
from i1k_eval.scores import Scores
from vit_tf.export.verify import TOLERANCES
from vit_tf.preprocessing import DataConfig

if TYPE_CHECKING:  # it needs torch
    from i1k_eval.reference import Original

EXAMINED = 10  # images on which the models' layers are compared


@dataclasses.dataclass(frozen=True)
class Side:
    """What one of the models was given, and what it gave, for a batch of images.

    Attributes:
        pixels: (B, height, width, channels) float32.
        errors: For each image, why it was not read, or "".
        logits: (B, num_classes).
    """

    pixels: np.ndarray
    errors: Sequence[str]
    logits: np.ndarray


@dataclasses.dataclass
class Comparison:
    """Compares the ported model with the original, image by image.

    Attributes:
        original: The original itself.
        data: How images are transformed.
        dtype: What the bundle computes in, which says what rounding is.
        scores: Which logits are which classes.
        examinations: On how many more images the models' layers are compared.
    """

    original: "Original"
    data: DataConfig
    dtype: str
    scores: Scores
    examinations: int = EXAMINED

    def differences(self, ported: Side, original: Side) -> list[Difference | None]:
        """How far the two are apart on each image that both read, and why."""
        return [
            None if any(errors) else self._difference(ported, original, i)
            for i, errors in enumerate(zip(ported.errors, original.errors, strict=True))
        ]

    def _difference(self, ported: Side, original: Side, i: int) -> Difference:
        """Of an image.

        Where the answers differ, or the logits by more than rounding, the original
        looks at the ported model's pixels. If it then says the same, the difference
        starts in the pixels; if not, in the model.
        """
        pixels, logits, reference = (
            ported.pixels[i : i + 1], ported.logits[i], original.logits[i]
        )  # fmt: skip
        found = Difference(
            *_pixel_difference(pixels, original.pixels[i : i + 1], self.data),
            logits=_largest(logits - reference),
            scale=_largest(reference),
        )
        if self._same(logits, reference):
            return found
        if found.pixels and self._same(logits, self.original.logits(pixels)[0]):
            return dataclasses.replace(found, starts="pixels")
        return dataclasses.replace(found, starts="model", layer=self._layer(pixels))

    def _layer(self, pixels: np.ndarray) -> str:
        if self.examinations == 0:
            return ""
        self.examinations -= 1
        return self.original.first_divergence(pixels)

    def _same(self, logits: np.ndarray, reference: np.ndarray) -> bool:
        """The same class, and logits within what rounding explains."""
        rounding = TOLERANCES[self.dtype] * _largest(reference)
        if not _largest(logits - reference) <= rounding < np.inf:
            return False
        ours, originals = self.scores.answers(np.stack([logits, reference]), ("", ""))
        return ours.classes[:1] == originals.classes[:1]


def _largest(values: np.ndarray) -> float:
    """Without its sign; infinite where one is not a number."""
    largest = float(np.abs(values).max())
    return np.inf if np.isnan(largest) else largest


def _pixel_difference(
    ported: np.ndarray, original: np.ndarray, data: DataConfig
) -> tuple[int, int]:
    """How many values differ, and by how many levels of 0 to 255 at most."""
    differing = ported.view(np.int32) != original.view(np.int32)
    levels = 255 * np.array(data.std) * np.abs(ported - original)
    return int(differing.sum()), int(np.rint(levels.max()))
