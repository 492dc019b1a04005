"""A model that Keras saved, `.keras` or `.weights.h5`, as timm's tensors again."""

import importlib
import pkgutil
import zipfile
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import keras
import numpy as np
import tensorflow as tf
from ml_collections import ConfigDict

from vit_tf import mapping, models
from vit_tf.checkpoints.edits import Edit, EditedTensors
from vit_tf.checkpoints.errors import (
    CheckpointError,
    CorruptCheckpointError,
    UnknownLayoutError,
)
from vit_tf.checkpoints.json_file import parse_json
from vit_tf.checkpoints.keras_h5 import KerasWeights
from vit_tf.configs import common
from vit_tf.layers.initializers import skip_init

CONFIG = "config.json"
WEIGHTS_H5 = ".weights.h5"
DEPTHS = ("depth", "depths", "depth_token_only", "backbone_layers")
WIDTHS = ("embed_dim", "num_classes")
BASE = ("name", "trainable", "dtype")  # arguments that every Keras model has


def is_keras_file(path: str | Path) -> bool:
    """Whether a file's name is that of a model, or of weights, that Keras saved."""
    return str(path).endswith((".keras", WEIGHTS_H5))


def read_config(path: str | Path) -> ConfigDict:
    """What the model in a `.keras` is: its class and constructor arguments.

    Keras itself makes nothing of it: no class is imported, and no layer made, that the
    file names.

    Args:
        path: A `.keras` file.

    Returns:
        A configuration; `architecture` is the model's name, which is timm's unless it
        was given another.

    Raises:
        CorruptCheckpointError: if it is no whole `.keras` file.
        UnknownLayoutError: if it is not of a model of vit_tf.
    """
    path = Path(path)
    KerasWeights(path)  # whole, and no larger than its bytes
    with zipfile.ZipFile(path) as archive:
        try:
            stated = parse_json(archive.read(CONFIG))
        except (KeyError, ValueError, RecursionError) as error:
            raise CorruptCheckpointError(f"{path}: {CONFIG}: {error}") from error
    family, class_name, arguments = _stated(path, stated)
    name = str(arguments.get("name", ""))
    arguments = {k: _tuples(v) for k, v in arguments.items() if k not in BASE}
    try:
        if name in models.list_models():
            config = models.get_config(name, **arguments)
        else:
            config = common.make_config(family, class_name, name, "", arguments)
    except (TypeError, ValueError) as error:
        raise UnknownLayoutError(f"{path}: {CONFIG}: {error}") from error
    if config.model_class != class_name:
        raise UnknownLayoutError(
            f"{path}: {CONFIG}: a {class_name} named {name!r} found, which is a "
            f"{config.model_class}"
        )
    return config


def read_tensors(
    path: str | Path, config: ConfigDict | None = None
) -> Mapping[str, np.ndarray]:
    """timm's tensors from a model that was saved, bitwise; read when asked for.

    Args:
        path: A `.keras` or `.weights.h5` file.
        config: The model that it is of; None for what a `.keras` says itself.

    Returns:
        timm name -> array.

    Raises:
        CheckpointError: if it is no whole file of that kind, or not of that model:
            listing every weight that only one of them has, or whose shape differs.
        ValueError: if a `.weights.h5`, which does not say it, comes without `config`.
    """
    weights = KerasWeights(path)
    if config is None:
        if not str(path).endswith(".keras"):
            raise ValueError(
                f"{path} does not say which model it is of; expected: its configuration"
            )
        config = read_config(path)
    entries = _entries(Path(path), config, weights)
    edits = {
        entry.name: Edit((place,), entry.layout.to_timm)
        for place, entry in entries.items()
    }
    return EditedTensors(weights, edits)


def _stated(path: Path, stated: Any) -> tuple[str, str, dict[str, Any]]:
    """Family, class and arguments in a `.keras` file's configuration."""
    stated = stated if isinstance(stated, dict) else {}
    module, name = str(stated.get("module")), str(stated.get("class_name"))
    package, _, family = module.rpartition(".")
    arguments = stated.get("config")
    if package == models.__name__ and family in _families():
        cls = getattr(importlib.import_module(module), name, None)
        is_model = isinstance(cls, type) and issubclass(cls, keras.Model)
        is_ours = is_model and "img_size" in models.parameters(cls)
        if is_ours and isinstance(arguments, dict):
            return family, name, arguments
    raise UnknownLayoutError(
        f"{path}: {module}.{name} found; expected: a model of vit_tf itself, not one "
        "that contains it"
    )


def _families() -> list[str]:
    return [module.name for module in pkgutil.iter_modules(models.__path__)]


def _tuples(value: Any) -> Any:
    """A constructor's argument as it was before it became JSON."""
    return tuple(map(_tuples, value)) if isinstance(value, list) else value


def _entries(
    path: Path, config: ConfigDict, weights: KerasWeights
) -> dict[str, mapping.Entry]:
    """Where the file has each of the model's weights: "LAYER/NUMBER" -> weight.

    Raises:
        CheckpointError: if file and model differ, listing every problem.
    """
    _check_sizes(path, config, weights)
    try:
        with skip_init():
            entries = _places(mapping.entries(models.build(config)))
    except (TypeError, ValueError, tf.errors.ResourceExhaustedError) as error:
        raise CheckpointError(f"{path}: {config.architecture}: {error}") from error
    problems = [
        f" - {entries[p].name}: in the model only"
        for p in entries.keys() - weights.keys()
    ]
    problems += [f" + {p}: in the file only" for p in weights.keys() - entries.keys()]
    for place in weights.keys() & entries.keys():
        found, expected = weights.shape(place), tuple(entries[place].weight.shape)
        if found != expected:
            problems.append(
                f" ! {entries[place].name}: shape {found} found, {expected} expected"
            )
    if problems:
        raise CheckpointError(
            f"{path} does not fit {config.architecture} ({len(problems)} problems):\n"
            + "\n".join(sorted(problems))
        )
    return entries


def _places(entries: list[mapping.Entry]) -> dict[str, mapping.Entry]:
    """Each weight by its layer, and by its number among the layer's own."""
    counts: Counter[str] = Counter()
    places = {}
    for entry in entries:
        layer = entry.name.removesuffix(entry.layout.name).removesuffix(".")
        places[f"{layer}/{counts[layer]}"] = entry
        counts[layer] += 1
    return places


def _check_sizes(path: Path, config: ConfigDict, weights: KerasWeights) -> None:
    """A file may claim a model that is larger than any machine: none is built then."""
    widest = max((max(weights.shape(name), default=0) for name in weights), default=0)
    limits = dict.fromkeys(DEPTHS, len(weights)) | dict.fromkeys(WIDTHS, widest)
    problems = [
        f"{name}={config.model[name]} found, at most {limit} expected"
        for name, limit in limits.items()
        if name in config.model and np.sum(config.model[name] or 0) > limit
    ]
    if problems:
        raise CheckpointError(
            f"{path}: {'; '.join(problems)}: the file has {len(weights)} weights, and "
            f"none wider than {widest}"
        )
