"""A bundle as it is on disk: what it takes, and the logits that it gives."""

import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf

from i1k_eval.errors import EvaluationError
from vit_tf.export import bundle
from vit_tf.export.data_config import NEEDED
from vit_tf.preprocessing import DataConfig


class Ported:
    """The ported model, read back from its bundle.

    Attributes:
        path: The bundle's folder.
        described: What its `config.json` says.
        data: How images become what it takes.
        num_classes: How many logits it gives.
        parameters: How many numbers it was trained to.
        sha256: That of what it computes: graph, variables and configuration.
        changed: Files that are not those that were compared with timm.

    Raises:
        EvaluationError: if the folder is no bundle, or one that classifies no images.
    """

    def __init__(self, path: str | Path):
        self.path = path = Path(path)
        if not bundle.is_bundle(self.path):
            raise EvaluationError(
                f"{path} is not a bundle of vit_tf: saved_model.pb and {bundle.CONFIG} "
                "expected"
            )
        self.described = _described(self.path)
        try:
            self.data = DataConfig.from_json(self.described["data"])
        except (ValueError, TypeError) as error:
            wrong = "; ".join(str(error).splitlines())
            raise EvaluationError(f"{path / bundle.CONFIG}: data: {wrong}") from error
        self.num_classes: int = self.described["model"]["num_classes"]
        hashes = bundle.computing_hashes(self.path)
        self.sha256 = bundle.digest(hashes)
        self.changed = _changed(self.path, hashes)
        try:
            loaded = tf.saved_model.load(str(self.path))
        except (tf.errors.OpError, OSError, ValueError) as error:
            raise EvaluationError(f"{path}: {error}") from error
        self._loaded = loaded  # its variables live as long as it does
        self._logits = loaded.signatures["serving_default"]
        self.parameters = sum(math.prod(v.shape) for v in loaded.trainable_variables)

    @property
    def name(self) -> str:
        return self.path.resolve().name

    @property
    def dtype(self) -> str:
        """What it computes in."""
        return self.described.get("dtype") or "float32"

    @property
    def label_names(self) -> list[str] | None:
        return self.described.get("label_names")

    def logits(self, pixels: np.ndarray) -> np.ndarray:
        """(B, num_classes), of (B, height, width, channels) float32.

        Raises:
            EvaluationError: if that is not what the model gives.
        """
        logits = self._logits(tf.constant(pixels))["logits"].numpy()
        if logits.shape != (len(pixels), self.num_classes):
            raise EvaluationError(
                f"{self.path}: logits {logits.shape} found, "
                f"{(len(pixels), self.num_classes)} expected"
            )
        return logits


def _described(path: Path) -> dict[str, Any]:
    try:
        described = json.loads((path / bundle.CONFIG).read_text())
        data, classes = described["data"], described["model"]["num_classes"]
    except (ValueError, LookupError, TypeError) as error:
        raise EvaluationError(f"{path / bundle.CONFIG}: {error!r}") from error
    if not classes:
        raise EvaluationError(
            f"{path}: a model without a classifier found (num_classes=0); expected: "
            "one that gives logits"
        )
    if unknown := [name for name in NEEDED if not data.get(name)]:
        raise EvaluationError(
            f"{path}: no {' and no '.join(unknown)} found in {bundle.CONFIG}; "
            "expected: a bundle that says how its images are preprocessed"
        )
    return described


def _changed(path: Path, hashes: dict[str, str]) -> list[str]:
    proven = path / bundle.PARITY
    if not proven.is_file():
        return []
    written = json.loads(proven.read_text())["result"]
    return [name for name in hashes if written.get(name, hashes[name]) != hashes[name]]
