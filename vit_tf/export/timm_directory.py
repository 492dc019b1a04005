"""The way back: a model as timm's local directory, config.json beside the weights."""

import contextlib
import dataclasses
import json
import os
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import keras
import numpy as np

from vit_tf import mapping, models
from vit_tf.architectures import plain
from vit_tf.checkpoints.tensor_names import classifiers, first_conv
from vit_tf.checkpoints.write import write_safetensors
from vit_tf.export.bundle import CONFIG, PARITY, BundleError, is_bundle, load
from vit_tf.export.data_config import STATED

WEIGHTS = "model.safetensors"
DTYPES = ("", "float32", "float16", "bfloat16")
# Arguments that timm takes as classes or objects, which JSON cannot hold.
NOT_JSON = (
    "norm_layer", "embed_norm_layer", "mlp_layer", "block_fn", "backbone",
    "backbone_layers", "backbone_channels", "proj",
)  # fmt: skip


@dataclasses.dataclass(frozen=True)
class Written:
    """What `write` did.

    Attributes:
        architecture: timm's name of it.
        weights: The file of tensors; config.json is beside it.
        tensors: Their number.
        rounded: How many of them `dtype` has changed.
        assumed: What was not known of a `.keras` file, and assumed.
    """

    architecture: str
    weights: Path
    tensors: int
    rounded: int
    assumed: str

    def __str__(self) -> str:
        notes = [self.assumed] if self.assumed else []
        if self.rounded:
            notes.append(f"{self.rounded} tensors were rounded")
        lines = [
            f"written   {self.weights}, {self.tensors:,} tensors",
            f"          {self.weights.parent / 'config.json'}",
            *(f"note      {note}" for note in notes),
            f'load it   timm.create_model("local-dir:{self.weights.parent}", '
            "pretrained=True)",
        ]
        return "\n".join(lines)


def write(
    bundle: str | Path,
    out: str | Path,
    *,
    architecture: str = "",
    dtype: str = "",
    overwrite: bool = False,
) -> Written:
    """Writes the weights of a model under timm's names, and the config.json to them.

    timm loads the file with `strict=True`, and opens the folder as "local-dir:FOLDER".
    What is there is replaced only when both files are whole.

    Args:
        bundle: What `convert` wrote, or a `.keras` file of such a model.
        out: A folder, for `model.safetensors` in it, or a file that ends in
            .safetensors.
        architecture: timm's name of the model, where a `.keras` file does not say it.
        dtype: What floating-point weights are stored in; "" for the source's dtype, if
            it holds them as they are now, or else theirs.
        overwrite: Whether files that are there may be replaced.

    Raises:
        BundleError: if `bundle` is none, or does not say its architecture.
        ValueError: if timm's config.json cannot state the model, or there is no such
            dtype.
        FileExistsError: if a file is there and may not be replaced.
    """
    if dtype not in DTYPES:
        raise ValueError(f"dtype={dtype!r} found; expected: one of {DTYPES}")
    weights = _weights_file(Path(out))
    files = (weights, weights.parent / "config.json")
    if not overwrite and (there := [str(file) for file in files if file.exists()]):
        raise FileExistsError(
            f"{', '.join(there)} found; pass --overwrite (overwrite=True) to replace "
            "it, or name another folder"
        )
    model = load(bundle)
    described = _described(Path(bundle), model, architecture)
    tensors = mapping.extract(model)
    config = timm_config(model, described, tensors)
    if dtype:
        stored = {name: _cast(tensor, dtype) for name, tensor in tensors.items()}
    else:
        stored = _as_in_source(tensors, _dtype_of_source(Path(bundle)))
    with _replacing(*files) as (weights_aside, config_aside):
        _save(stored, weights_aside, config, config_aside)
    return Written(
        architecture=config["architecture"],
        weights=weights,
        tensors=len(tensors),
        rounded=sum(_rounded(tensors[name], stored[name]) for name in tensors),
        assumed=described.get("assumed", ""),
    )


def write_model(
    model: keras.Model,
    described: Mapping[str, Any],
    dtypes: Sequence[str],
    directory: Path,
) -> None:
    """The same of a model that is being converted, to a new folder.

    Args:
        model: One of ours.
        described: What its bundle's `config.json` holds.
        dtypes: Those of its source's tensors.
        directory: The folder.

    Raises:
        ValueError: if timm's config.json cannot state the model.
    """
    tensors = mapping.extract(model)
    config = timm_config(model, described, tensors)
    directory.mkdir()
    stored = _as_in_source(tensors, _only_dtype(dtypes))
    _save(stored, directory / WEIGHTS, config, directory / "config.json")


def timm_config(
    model: keras.Model, described: Mapping[str, Any], tensors: Mapping[str, np.ndarray]
) -> dict[str, Any]:
    """What timm's `save_config_for_hf` writes of such a model.

    Args:
        model: One of ours.
        described: What a bundle's `config.json` holds: architecture, tag, data, names
            of labels, licence.
        tensors: Its weights by timm's names.

    Raises:
        ValueError: if the model differs from its architecture in what JSON cannot say.
    """
    arguments = _arguments(model, described["architecture"])
    data, kind = described["data"], type(model).__name__
    heads = classifiers(kind)
    names = described.get("label_names")
    config = {
        "architecture": described["architecture"],
        "num_classes": model.num_classes,
        "num_features": getattr(model, "num_features", model.embed_dim),
        "global_pool": model.global_pool,
        "label_names": names if names and len(names) == model.num_classes else None,
        "model_args": arguments,
        "pretrained_cfg": {
            "tag": described.get("tag") or None,
            "custom_load": False,
            "input_size": [model.in_chans, *model.img_size],
            "fixed_input_size": not model.dynamic_img_size,
            **{key: data[key] for key in STATED if key in data},
            "num_classes": model.num_classes,
            "pool_size": None,
            "first_conv": first_conv(tensors).removesuffix(".weight"),
            "classifier": heads[0] if len(heads) == 1 else heads,
            "license": described.get("license"),
        },
    }
    if not config["label_names"]:
        del config["label_names"]
    return config


def _arguments(model: keras.Model, architecture: str) -> dict[str, Any]:
    """Constructor arguments that timm is to be given; of the architecture's, none.

    Raises:
        ValueError: listing those that a config.json cannot say.
    """
    cls = type(model)
    usual = models.get_config(architecture)
    if usual.model_class != cls.__name__:
        raise ValueError(
            f"a {cls.__name__} found; {architecture} is a {usual.model_class}"
        )
    own, given = getattr(cls, "own_arguments", ()), model.get_config()
    always = ("img_size", "in_chans", "num_classes", "global_pool")
    found = {
        name: given[name]
        for name in models.parameters(cls)
        if name not in own
        and not name.endswith("_rate")  # timm leaves them out
        and (name in always or plain(given[name]) != plain(usual.model[name]))
    }
    if wrong := [n for n, v in found.items() if n in NOT_JSON or v is None]:
        listed = "; ".join(
            f"{name}={found[name]!r} found, {usual.model[name]!r} in {architecture}"
            for name in wrong
        )
        raise ValueError(
            f"{listed}: timm's config.json cannot say it. "
            "vit_tf.mapping.extract(model) gives the tensors"
        )
    return found


def _described(path: Path, model: keras.Model, architecture: str) -> dict[str, Any]:
    """What is known of a model beside its weights and arguments."""
    folder = path if path.is_dir() else path.parent
    if is_bundle(folder):
        described = json.loads((folder / CONFIG).read_text())
        if architecture not in ("", described["architecture"]):
            raise BundleError(
                f"{folder / CONFIG}: the architecture {described['architecture']!r} "
                f"found, {architecture!r} expected"
            )
        return described
    architecture = architecture or model.name
    if architecture not in models.list_models():
        raise BundleError(
            f"{path}: a {type(model).__name__} named {architecture!r} found; expected: "
            "timm's name of its architecture, as --model=NAME"
        )
    from vit_tf.reference import pretrained_cfg

    facts = pretrained_cfg(architecture)
    data = {key: facts[key] for key in STATED if key in facts}
    for key in ("mean", "std"):  # of other channels than the model's
        if len(data.get(key, ())) != model.in_chans:
            data.pop(key, None)
    assumed = f"preprocessing is that of timm's {architecture}: {path} does not say it"
    return {"architecture": architecture, "data": data, "assumed": assumed}


def _dtype_of_source(path: Path) -> str:
    """What a bundle's source had for all its weights; "" where that is not known."""
    proven = path / PARITY
    if not proven.is_file():
        return ""
    return _only_dtype(json.loads(proven.read_text())["source"].get("dtypes", []))


def _only_dtype(dtypes: Sequence[str]) -> str:
    return dtypes[0] if len(dtypes) == 1 and dtypes[0] in DTYPES else ""


def _as_in_source(
    tensors: Mapping[str, np.ndarray], dtype: str
) -> Mapping[str, np.ndarray]:
    """The tensors in the dtype that the source has, if that holds them as they are."""
    stored = {name: _cast(tensor, dtype) for name, tensor in tensors.items()}
    trained_since = any(_rounded(tensors[name], stored[name]) for name in tensors)
    return tensors if trained_since else stored


def _save(
    tensors: Mapping[str, np.ndarray],
    weights: Path,
    config: Mapping[str, Any],
    config_path: Path,
) -> None:
    write_safetensors(tensors, weights)
    config_path.write_text(json.dumps(config, indent=2) + "\n")


def _weights_file(out: Path) -> Path:
    weights = (
        out if out.suffix == ".safetensors" and not out.is_dir() else out / WEIGHTS
    )
    for parent in weights.parents:
        if parent.exists() and not parent.is_dir():
            raise NotADirectoryError(
                f"{parent} is a file; expected: a folder, or a file that ends in "
                ".safetensors"
            )
    return weights


@contextlib.contextmanager
def _replacing(*files: Path) -> Iterator[list[Path]]:
    """Yields files beside `files`, in one folder, which take their place at the end."""
    folder = files[0].parent
    made = [parent for parent in (folder, *folder.parents) if not parent.exists()]
    folder.mkdir(parents=True, exist_ok=True)
    try:
        with tempfile.TemporaryDirectory(prefix=".partial-", dir=folder) as aside:
            yield [Path(aside) / file.name for file in files]
            for file in files:
                os.replace(Path(aside) / file.name, file)
    finally:
        for parent in made:
            with contextlib.suppress(OSError):  # one that holds something stays
                parent.rmdir()


def _cast(tensor: np.ndarray, dtype: str) -> np.ndarray:
    return tensor.astype(dtype) if dtype and tensor.dtype.kind in "fV" else tensor


def _rounded(tensor: np.ndarray, stored: np.ndarray) -> bool:
    return not np.array_equal(stored.astype(tensor.dtype), tensor)
