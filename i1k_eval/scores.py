"""From logits to the classes that a model says."""

import dataclasses
from collections.abc import Sequence

import numpy as np

from i1k_eval.predictions import Answer

SHOWN = 5  # classes of an answer


@dataclasses.dataclass(frozen=True)
class Scores:
    """Which logits are which classes of the data set.

    Attributes:
        columns: For each class, which logit is its; negative where none is. None: each
            logit is its own class.
        classes: The classes that count, where a data set has a part of them only.
    """

    columns: np.ndarray | None = None
    classes: Sequence[int] | None = None

    def num_classes(self, logits: int) -> int:
        return logits if self.columns is None else len(self.columns)

    def answers(self, logits: np.ndarray, errors: Sequence[str]) -> list[Answer]:
        """What a model says of images; nothing where it has no numbers, or no image.

        Args:
            logits: (B, logits).
            errors: For each image, why it was not read, or "".
        """
        errors = [
            error or ("" if np.isfinite(row).all() else "its logits are no numbers")
            for error, row in zip(errors, logits, strict=True)
        ]
        scores, counted = self._scores(logits)
        best = np.argsort(-scores, axis=1, kind="stable")[:, : min(SHOWN, counted)]
        values = np.take_along_axis(scores, best, axis=1)
        return [
            Answer(error=error)
            if error
            else Answer(tuple(best[i].tolist()), tuple(values[i].tolist()))
            for i, error in enumerate(errors)
        ]

    def _scores(self, logits: np.ndarray) -> tuple[np.ndarray, int]:
        """(B, classes), and how many of them count; the others are -inf."""
        counts = np.ones(self.num_classes(logits.shape[1]), bool)
        if self.columns is not None:
            logits = logits[:, self.columns]
            counts &= self.columns >= 0
        if self.classes is not None:
            counts &= np.isin(np.arange(len(counts)), list(self.classes))
        return np.where(counts, logits, -np.inf), int(counts.sum())
