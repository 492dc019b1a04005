"""How many pixels of what a model is given differ from timm's."""

import dataclasses
from collections.abc import Mapping
from typing import Any

import numpy as np

from vit_tf.parity import ParityError


@dataclasses.dataclass(frozen=True)
class PixelReport:
    """The differences of preprocessed images, bit for bit.

    Attributes:
        differing: Of each image, how many of its values differ.
        values: How many there are of all images.
        largest: The largest difference, in the model's units.
        pillow: The version of the Pillow that the original ran on, or "" where the
            original was left out: then it is with what was to be saved.
        order: Whose order of passes ours has, as in `DataConfig.pillow`.
    """

    differing: Mapping[str, int]
    values: int
    largest: float
    pillow: str
    order: str

    @property
    def passed(self) -> bool:
        """Nothing compared has not passed."""
        return self.values > 0 and not any(self.differing.values())

    def check(self) -> None:
        """
        Raises:
            ParityError: if a single value differs; it says what may be the reason.
        """
        if self.passed:
            return
        images = ", ".join(f"{k} ({n})" for k, n in self.differing.items() if n)
        problem = f"pixels: {self}, by up to {self.largest:.1e}: {images}"
        if self.pillow:
            problem += (
                f"; Pillow {self.pillow} is installed, and ours has the order of "
                f"passes of Pillow {self.order} (config.preprocessing.pillow)"
            )
        raise ParityError(problem)

    def to_json(self) -> dict[str, Any]:
        return {
            **dataclasses.asdict(self),
            "passed": self.passed,
            "compared_with_timm": bool(self.pillow),
        }

    def __str__(self) -> str:
        differing = sum(self.differing.values())
        whose = f"timm's (Pillow {self.pillow})" if self.pillow else "what was saved"
        return (
            f"{differing:,} of {self.values:,} values of {len(self.differing)} images "
            f"differ from {whose}"
        )


def compare_pixels(
    reference: Mapping[str, np.ndarray],
    candidate: Mapping[str, np.ndarray],
    order: str,
    pillow: str = "",
) -> PixelReport:
    """Compares preprocessed images as bits: nothing is rounded, and -0.0 is not 0.0.

    Args:
        reference: name -> (height, width, channels) float32, timm's.
        candidate: Ours, of the same names.
        order: As in `PixelReport`.
        pillow: Likewise.
    """
    differing = {
        name: _differing(expected, candidate[name])
        for name, expected in reference.items()
    }
    largest = max(
        float(np.abs(expected - candidate[name]).max(initial=0))
        if expected.shape == candidate[name].shape
        else float("inf")
        for name, expected in reference.items()
    )
    values = sum(image.size for image in reference.values())
    return PixelReport(differing, values, largest, pillow, order)


def _differing(reference: np.ndarray, candidate: np.ndarray) -> int:
    if (reference.shape, reference.dtype) != (candidate.shape, candidate.dtype):
        return reference.size
    return int(np.sum(reference.view(np.int32) != candidate.view(np.int32)))
