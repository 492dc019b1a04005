"""The bundle: a SavedModel directory that also says what it is and what was proven.

saved_model.pb, variables/, fingerprint.pb   the SavedModel
assets.extra/config.json                     architecture, arguments, preprocessing
assets.extra/parity.json                     errors, tolerances, versions, hashes
assets.extra/accuracy.json                   where it was measured (export/accuracy.py)
README.md                                    the model card
model.keras, timm/, model_float32.tflite ... the formats that were asked for beside it,
                                             as `vit_tf.export.formats` has them
"""

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import keras
import tensorflow as tf
from ml_collections import ConfigDict

from vit_tf import models
from vit_tf.export.data_config import data_config, problems, stated
from vit_tf.export.saved_model import VARIABLES, checkpoint_key
from vit_tf.layers.initializers import skip_init
from vit_tf.mapping import entries
from vit_tf.models.preprocessed import Preprocessed
from vit_tf.preprocessing import DataConfig

CONFIG = Path("assets.extra/config.json")
PARITY = Path("assets.extra/parity.json")
KERAS = Path("model.keras")
# What timm's `pretrained_cfg` says of where weights are from, and of their paper.
ORIGIN = ("hf_hub_id", "url", "origin_url", "paper_name", "paper_ids")


class BundleError(ValueError):
    """A folder is not a bundle, or not a whole one."""


def load(bundle: str | Path, *, include_preprocessing: bool = False) -> keras.Model:
    """The Keras model of a bundle, ready to read, probe and train.

    Its `data_config` says how its images are prepared; None where that is not known.

    Args:
        bundle: The folder that `convert` wrote, or a `.keras` file of such a model
            (which Keras's own loader takes too, once the model's module is imported).
        include_preprocessing: Whether to give a model that takes images as they are
            stored, files or uint8 (see `vit_tf.models.preprocessed`).

    Raises:
        BundleError: if the folder is not a bundle of this toolkit, its variables are
            not those of the model that its configuration describes, or its
            preprocessing is to be included and is not known.
    """
    bundle = Path(bundle)
    model = _of_keras(bundle) if _is_keras(bundle) else _of_bundle(bundle)
    if not include_preprocessing or isinstance(model, Preprocessed):
        return model
    data = read_data_config(bundle)
    return Preprocessed(model, data, name=f"{model.name}_preprocessed")


def read_data_config(bundle: str | Path) -> DataConfig:
    """How a bundle's images are prepared.

    Raises:
        BundleError: if the folder is not a bundle of this toolkit, or it is not known.
    """
    bundle = Path(bundle)
    if _is_keras(bundle):
        raise BundleError(
            f"{bundle}: a model without preprocessing found; expected: a bundle, or a "
            "file of a model that was made with include_preprocessing=True"
        )
    data = described(bundle)["data"]
    if unknown := problems(data):
        raise BundleError(
            f"{bundle}: how its images are prepared is not known ({'; '.join(unknown)})"
            "; expected: config.preprocessing said it at conversion"
        )
    return DataConfig.from_json(data)


def _is_keras(path: Path) -> bool:
    return path.is_file() and path.suffix == KERAS.suffix


def _of_keras(path: Path) -> keras.Model:
    models.import_families()
    return keras.models.load_model(path)


def described(bundle: Path) -> dict[str, Any]:
    """What a bundle's `config.json` holds: see `describe`.

    Raises:
        BundleError: if the folder is not a bundle of this toolkit.
    """
    if not is_bundle(bundle):
        raise BundleError(
            f"{bundle} is not a bundle of vit_tf: saved_model.pb and {CONFIG} expected"
        )
    return json.loads((bundle / CONFIG).read_text())


def _of_bundle(bundle: Path) -> keras.Model:
    config = ConfigDict(told := described(bundle))
    with skip_init():
        model = models.build(config, dtype=config.get("dtype"))
    try:
        checkpoint = tf.train.load_checkpoint(str(bundle / VARIABLES))
    except (tf.errors.OpError, ValueError) as error:
        raise BundleError(f"{bundle / VARIABLES}: {error}") from error
    stored = checkpoint.get_variable_to_shape_map()
    keys = {checkpoint_key(entry.name): entry for entry in entries(model)}
    if missing := sorted(keys.keys() - stored.keys()):
        raise BundleError(f"{bundle / VARIABLES}: no variables named {missing}")
    shapes = {key: tuple(entry.weight.shape) for key, entry in keys.items()}
    if wrong := [key for key in keys if tuple(stored[key]) != shapes[key]]:
        raise BundleError(f"{bundle / VARIABLES}: other shapes expected of {wrong}")
    for key, entry in keys.items():
        entry.weight.assign(checkpoint.get_tensor(key))
    model.data_config = data_config(told["data"])
    return model


def is_bundle(directory: Path) -> bool:
    return all((directory / file).is_file() for file in ("saved_model.pb", CONFIG))


def describe(config: ConfigDict, facts: Mapping[str, Any]) -> dict[str, Any]:
    """What `config.json` holds: all that `load` and a preprocessing step need.

    `data` is the whole `DataConfig` where all of it is known, or what is known.

    Args:
        config: The conversion's.
        facts: timm's `pretrained_cfg` of the source: mean, std, crop, licence ...
    """
    known = stated(config, facts)
    data = data_config(known)
    names = facts.get("label_names") or []
    return {
        "architecture": config.architecture,
        "tag": config.tag,
        "family": config.family,
        "model_class": config.model_class,
        "model": config.model.to_dict(),
        "dtype": config.dtype,
        "data": data.to_json() if data else known,
        "label_names": names if len(names) == config.model.num_classes else None,
        "license": facts.get("license"),
        "origin": {name: facts[name] for name in ORIGIN if facts.get(name)},
    }


def write_json(path: Path, content: Mapping[str, Any]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(content, indent=1) + "\n")


def sha256(*paths: Path) -> str:
    """That of a file, or of several files' bytes, one behind the other."""
    digest = hashlib.sha256()
    for path in paths:
        with path.open("rb") as file:
            hashlib.file_digest(file, lambda: digest)
    return digest.hexdigest()


def hashes(directory: Path) -> dict[str, str]:
    """Relative path -> sha256, of every file below a folder."""
    return {name: sha256(directory / name) for name in files(directory)}


def computing_hashes(directory: Path) -> dict[str, str]:
    """Relative path -> sha256, of the files that say what a bundle computes."""
    return {
        name: sha256(directory / name)
        for name in files(directory)
        if name in ("saved_model.pb", str(CONFIG)) or name.startswith("variables/")
    }


def digest(hashes: Mapping[str, str]) -> str:
    """One sha256 for those of several files."""
    return hashlib.sha256(json.dumps(hashes).encode()).hexdigest()


def files(directory: Path) -> dict[str, int]:
    """Relative path -> bytes, of every file below a folder."""
    return {
        str(path.relative_to(directory)): path.stat().st_size
        for path in sorted(directory.rglob("*"))
        if path.is_file()
    }
