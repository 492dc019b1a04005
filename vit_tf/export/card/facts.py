"""What a card says, read from a bundle."""

import dataclasses
import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import tensorflow as tf
from tensorflow.core.protobuf import meta_graph_pb2, saved_model_pb2

from vit_tf.export import accuracy, bundle
from vit_tf.export.data_config import problems
from vit_tf.parity.pixels import PixelReport

# In the names of timm's tags, what the weights were trained on.
DATASETS = {
    "in1k": "imagenet-1k",
    "in12k": "imagenet-12k",
    "in21k": "imagenet-21k",
    "in22k": "imagenet-22k",
}


class Signature(NamedTuple):
    """What a signature of a SavedModel takes and gives, by name."""

    inputs: Mapping[str, tf.TensorSpec]
    outputs: Mapping[str, tf.TensorSpec]


@dataclasses.dataclass(frozen=True)
class Card:
    """All that is known of a bundle.

    Attributes:
        name: The bundle's folder.
        described: What its `config.json` holds: architecture, tag, arguments, `data`,
            licence, and where timm says that the weights are from.
        source: Where the tensors come from: uri, sha256, notes, tensors, parameters.
        versions: Of vit_tf and of the libraries that it was converted with.
        reports: What was compared, as `parity.json` has it.
        pixels: What was compared of them, where the model takes stored images.
        compared_with_timm: Whether the original was one side of a comparison.
        signatures: What the SavedModel can be asked for, by name.
        files: What the bundle holds: relative path -> bytes.
        accuracy: What was measured, as `vit_tf.export.accuracy` has it.
    """

    name: str
    described: Mapping[str, Any]
    source: Mapping[str, Any]
    versions: Mapping[str, str]
    reports: tuple[Mapping[str, Any], ...]
    pixels: PixelReport | None
    compared_with_timm: bool
    signatures: Mapping[str, Signature]
    files: Mapping[str, int]
    accuracy: tuple[Mapping[str, Any], ...] = ()

    @property
    def model(self) -> str:
        """timm's name of it, with the tag."""
        tag = self.described["tag"]
        return self.described["architecture"] + (f".{tag}" if tag else "")

    @property
    def num_classes(self) -> int:
        return self.described["model"]["num_classes"]

    @property
    def input_size(self) -> tuple[int, int, int]:
        """(channels, height, width)."""
        return tuple(self.described["data"]["input_size"])

    @property
    def takes_any_size(self) -> bool:
        arguments = self.described["model"]
        return arguments["dynamic_img_size"] or not arguments.get(
            "strict_img_size", True
        )

    @property
    def attends_to_windows(self) -> bool:
        return "window_size" in self.described["model"]

    @property
    def license(self) -> str | None:
        return self.described["license"]

    @property
    def origin(self) -> Mapping[str, Any]:
        """What timm says of where the weights are from; nothing of others' weights."""
        return self.described.get("origin", {})

    @property
    def base_model(self) -> str:
        """The repository on the Hugging Face hub that the weights are from, or ""."""
        uri = self.source["uri"].partition("@")[0]
        if uri.startswith("hf-hub:"):
            return uri.removeprefix("hf-hub:")
        return self.origin.get("hf_hub_id", "")

    @property
    def datasets(self) -> list[str]:
        """What the weights were trained on, where timm's tag says it."""
        words = self.described["tag"].split("_") if self.origin else []
        return [name for word, name in DATASETS.items() if word in words]

    @property
    def unknown(self) -> list[str]:
        """What is not known of how images are prepared; [] where all is."""
        return problems(self.described["data"])


def of_bundle(folder: str | Path, name: str = "") -> Card:
    """The card of a bundle, from what lies in it and nothing else.

    Args:
        folder: The bundle.
        name: What it is called, where the folder is called otherwise for now.

    Raises:
        BundleError: if the folder is not a bundle of this toolkit, or does not say what
            was proven of it.
    """
    folder = Path(folder)
    described = bundle.described(folder)
    try:
        proven = json.loads((folder / bundle.PARITY).read_text())
    except FileNotFoundError as error:
        raise bundle.BundleError(f"{folder}: {bundle.PARITY} expected") from error
    return Card(
        name=name or folder.resolve().name,
        described=described,
        source=proven["source"],
        versions=proven["versions"],
        reports=tuple(proven["reports"]),
        pixels=_pixels(proven["pixels"]) if proven["pixels"] else None,
        compared_with_timm=proven["compared_with_timm"],
        signatures=_signatures(folder / "saved_model.pb"),
        files=bundle.files(folder),
        accuracy=tuple(accuracy.read(folder)),
    )


def _pixels(written: Mapping[str, Any]) -> PixelReport:
    fields = dataclasses.fields(PixelReport)
    return PixelReport(**{field.name: written[field.name] for field in fields})


def _signatures(path: Path) -> dict[str, Signature]:
    """Those of a SavedModel, by name, without loading it."""
    written = saved_model_pb2.SavedModel.FromString(path.read_bytes())
    return {
        name: Signature(_specs(signature.inputs), _specs(signature.outputs))
        for name, signature in sorted(written.meta_graphs[0].signature_def.items())
        if not name.startswith("__")  # TensorFlow's own
    }


def _specs(
    tensors: Mapping[str, meta_graph_pb2.TensorInfo],
) -> dict[str, tf.TensorSpec]:
    return {
        name: tf.TensorSpec(
            [None if axis.size < 0 else axis.size for axis in info.tensor_shape.dim],
            tf.dtypes.as_dtype(info.dtype),
            name,
        )
        for name, info in sorted(tensors.items(), key=lambda item: _numbers(item[0]))
    }


def _numbers(name: str) -> list[str | int]:
    """By which `blocks.10` comes behind `blocks.9`."""
    return [int(part) if part.isdigit() else part for part in re.split(r"(\d+)", name)]
