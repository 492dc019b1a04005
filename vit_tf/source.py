"""Where a conversion's tensors come from, and which model they are for."""

import dataclasses
import gc
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from ml_collections import ConfigDict

from vit_tf import checkpoints, mapping, models
from vit_tf.checkpoints.local_dir import check_architecture, read_config
from vit_tf.checkpoints.random import RandomTensors
from vit_tf.configs import local_dir
from vit_tf.export.bundle import sha256
from vit_tf.layers.initializers import skip_init
from vit_tf.proof import shared_arguments
from vit_tf.reference import pretrained_cfg, pretrained_tensors

RANDOM = "random:"


@dataclasses.dataclass(frozen=True)
class Source:
    """Where the tensors come from."""

    uri: str
    tensors: checkpoints.Tensors
    facts: Mapping[str, Any]  # timm's pretrained_cfg: preprocessing, licence
    file: Path | None = None

    def hash(self) -> str:
        """The file's sha256, or "" where there is no file."""
        return sha256(self.file) if self.file else ""

    def to_json(self) -> dict[str, Any]:
        parameters = sum(int(np.prod(t.shape)) for t in self.tensors.values())
        return {
            "uri": self.uri,
            "tensors": len(self.tensors),
            "parameters": parameters,
        }


def find_config(model: str, checkpoint: str | Path = "") -> tuple[str, str]:
    """Which configuration says how to build `model` for `checkpoint`.

    A timm local directory states its own; `model` must then agree, and may be "".
    Otherwise `model` names it; where nothing else is asked for than timm's pretrained
    weights, "name" stands for timm's default tag of it, as it does in timm.

    Returns:
        A module of `configs/`, and what to call its `get_config` with.

    Raises:
        UnknownModelError: if there is no such model or tag.
        CheckpointError: if the checkpoint is not there, or states another model.
        ValueError: if nothing says which model it is.
    """
    uri = str(checkpoint)
    if uri and not uri.startswith(RANDOM):
        checkpoints.locate(uri)
        if Path(uri).is_dir():
            local_dir.get_config(uri, architecture=model.partition(".")[0])
            return "local_dir", uri
    if not model:
        what = f"{uri} does not say which model it is" if uri else "no model is named"
        raise ValueError(
            f"{what}; expected: --model=NAME, --config=configs/FAMILY.py:NAME, or as "
            "--checkpoint a timm local directory, which says it itself"
        )
    config = models.get_config(model)
    if not uri and not config.tag:
        tag = pretrained_cfg(model).get("tag", "")
        return config.family, f"{model}.{tag}".rstrip(".")
    return config.family, model


def read(config: ConfigDict, checkpoint: str | Path = "") -> Source:
    """The tensors that `checkpoint` names, and what is known about them.

    Raises:
        CheckpointError: if they cannot be had, or were made for another model than
            `config` describes.
    """
    uri = str(checkpoint)
    if not uri:
        return _pretrained(config)
    facts = _facts(config)
    if uri.startswith(RANDOM):
        tensors = RandomTensors(parameter_shapes(config), _seed(uri))
        return Source(uri, tensors, facts)
    path = checkpoints.locate(uri)
    if Path(uri).is_dir():
        stated = read_config(uri)
        _check_stated(config, stated, uri)
        facts |= stated["pretrained_cfg"] | {"label_names": stated["label_names"]}
    return Source(uri, checkpoints.read(path), facts, path)


def parameter_shapes(config: ConfigDict) -> dict[str, tuple[int, ...]]:
    """timm name -> shape in timm's layout, of every parameter of the model."""
    with skip_init():
        model = models.build(config)
    shapes = {entry.name: entry.shape for entry in mapping.entries(model)}
    del model
    gc.collect()  # its memory was never touched, but counts until it is given back
    return shapes


def _pretrained(config: ConfigDict) -> Source:
    name = f"{config.architecture}.{config.tag}".rstrip(".")
    facts = pretrained_cfg(name)
    classes, found = config.model.num_classes, facts["num_classes"]
    if classes not in (found, 0):
        raise checkpoints.CheckpointError(
            f"timm's weights for {name}: {found} classes found, {classes} expected; "
            "timm would draw a random head. num_classes=0 leaves the head out"
        )
    try:
        tensors = pretrained_tensors(name, shared_arguments(config))
    except Exception as error:  # timm, a hub and a reader: each has its own
        raise checkpoints.CheckpointError(
            f"timm's weights for {name} cannot be had: {_reason(error)}. Expected: a "
            "connection, weights in timm's cache, or a file as --checkpoint"
        ) from error
    return Source(f"timm:{name}", tensors, facts)


def _reason(error: BaseException) -> str:
    """An error's first line, with that of what caused it."""
    first = error
    while first.__cause__:
        first = first.__cause__
    said, why = (
        (str(e).strip() or type(e).__name__).splitlines()[0].rstrip(".")
        for e in (error, first)
    )
    return said if why == said else f"{said} ({why})"


def _facts(config: ConfigDict) -> dict[str, Any]:
    """How timm preprocesses for this model; nothing on weights that are not timm's."""
    name = f"{config.architecture}.{config.tag}".rstrip(".")
    facts = pretrained_cfg(name)
    return {k: v for k, v in facts.items() if k not in ("license", "label_names")}


def _seed(uri: str) -> int:
    text = uri.removeprefix(RANDOM)
    if not text.isdecimal():
        raise checkpoints.CheckpointError(
            f"checkpoint {uri!r}: {text!r} found, a whole number expected after "
            f"{RANDOM!r}"
        )
    return int(text)


def _check_stated(config: ConfigDict, stated: Mapping[str, Any], uri: str) -> None:
    """Weights of one model in another may fit, and be wrong: num_heads has no shape."""
    check_architecture(uri, stated["architecture"], config.architecture)
    asked = config.model.to_dict()
    differing = [
        f"{name}={value!r} found, {asked.get(name)!r} expected"
        for name, value in stated["model_args"].items()
        if not name.endswith("_rate") and _plain(value) != _plain(asked.get(name))
    ]
    if differing:
        raise checkpoints.CheckpointError(
            f"{Path(uri) / 'config.json'}: {'; '.join(differing)}"
        )


def _plain(value: Any) -> Any:
    """A value as another spelling of it has it: 8, (8, 8) and [8, 8] are one size."""
    if not isinstance(value, (list, tuple)):
        return value
    return value[0] if list(value) == [*value[:1]] * len(value) else tuple(value)
