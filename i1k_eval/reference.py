"""The original: Pillow decodes, timm transforms, torch computes.

This module alone needs torch, timm and Pillow.
"""

import functools
import io
import warnings
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import keras
import numpy as np
import PIL
from ml_collections import ConfigDict
from PIL import Image, UnidentifiedImageError

from i1k_eval.datasets.dataset import Example
from vit_tf import mapping, proof
from vit_tf.checkpoints import Tensors
from vit_tf.export.bundle import load
from vit_tf.export.data_config import STATED
from vit_tf.preprocessing import DataConfig
from vit_tf.reference import timm, torch

MODES = {1: "L", 3: "RGB"}  # what images are converted to, by channels: as in timm


class Original:
    """timm's model, with the weights of a bundle, or of a checkpoint.

    Args:
        bundle: The bundle's folder.
        described: What its `config.json` says.
        data: How images become what it takes.
        checkpoint: Where the weights come from, and the preprocessing as far as it says
            that; "" for what is in the bundle.
        threads: How many images are transformed at once.

    Attributes:
        data: How images become what the original takes.
    """

    def __init__(
        self,
        bundle: Path,
        described: dict[str, Any],
        data: DataConfig,
        *,
        checkpoint: str = "",
        threads: int = 1,
    ):
        self._bundle = bundle
        computed_in = described.get("dtype") or "float32"
        self._dtype = "float64" if computed_in == "float64" else "float32"
        self._half = computed_in != self._dtype
        # What a conversion's configuration says beside, and reading depends on.
        config = ConfigDict({**described, "inferred": False, "parity": {"seed": 0}})
        if checkpoint:
            tensors, data = _read(config, checkpoint, data)
        else:
            tensors = mapping.extract(load(bundle))
        self.data = data
        self._reference = proof.original(config, tensors, self._dtype)
        self._mode = MODES[data.input_size[0]]
        self._size = (*data.size, data.input_size[0])
        self._transform = timm.data.create_transform(
            input_size=data.input_size,
            is_training=False,
            interpolation=data.interpolation,
            mean=data.mean,
            std=data.std,
            crop_pct=data.crop_pct,
            crop_mode=data.crop_mode,
        )
        self._threads = ThreadPoolExecutor(threads)

    def pixels(self, examples: Sequence[Example]) -> tuple[np.ndarray, list[str]]:
        """What the model takes, zeros for what cannot be read; and why it cannot.

        Returns:
            (B, height, width, channels) float32, and a text for each image.
        """
        batch = np.zeros((len(examples), *self._size), np.float32)

        def transform(i: int) -> str:
            try:
                image = Image.open(io.BytesIO(examples[i].encoded)).convert(self._mode)
                batch[i] = self._transform(image).numpy().transpose(1, 2, 0)
            except UnidentifiedImageError:  # its text has an address in memory
                return "UnidentifiedImageError: no image that Pillow reads"
            except Exception as error:  # noqa: BLE001 - Pillow's readers raise anything
                return f"{type(error).__name__}: {error}"
            return ""

        with warnings.catch_warnings():  # Pillow's, of large images and odd EXIF
            warnings.simplefilter("ignore")
            errors = list(self._threads.map(transform, range(len(examples))))
        pairs = zip(examples, errors, strict=True)
        return batch, [example.error or error for example, error in pairs]

    def logits(self, pixels: np.ndarray) -> np.ndarray:
        """(B, num_classes)."""
        return self._reference.logits(pixels)

    @functools.cached_property
    def _ported(self) -> keras.Model:
        return load(self._bundle)

    def first_divergence(self, pixels: np.ndarray) -> str:
        """The first layer of the bundle's model beyond rounding; "" if none is.

        Of a model in half precision none is named: what its layers round has no bound.
        """
        if self._half:
            return ""
        recorded = self._reference.record(pixels)
        report = proof.layer_report(recorded, self._ported, pixels, self._dtype)
        return report.first_divergence.name if report.failures else ""


def use_threads(number: int) -> None:
    """How many threads torch computes with."""
    torch.set_num_threads(number)


def versions() -> dict[str, str]:
    """Of what the original's numbers depend on."""
    return {
        "torch": torch.__version__,
        "timm": timm.__version__,
        "pillow": PIL.__version__,
    }


def _read(
    config: ConfigDict, checkpoint: str, data: DataConfig
) -> tuple[Tensors, DataConfig]:
    """A checkpoint's tensors, and `data` with what the checkpoint says of it."""
    from vit_tf import source

    read = source.read(config, checkpoint)
    said = {key: read.facts[key] for key in STATED if read.facts.get(key)}
    for key in ("mean", "std"):  # of other channels than the model's
        if len(said.get(key, data.mean)) != len(data.mean):
            del said[key]
    return read.tensors, DataConfig.from_json({**data.to_json(), **said})
