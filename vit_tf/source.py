"""Where a conversion's tensors come from."""

import contextlib
import dataclasses
import gc
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from ml_collections import ConfigDict

from vit_tf import checkpoints, keras_file, mapping, models
from vit_tf.adaptation import adapt
from vit_tf.architectures import plain
from vit_tf.checkpoint import Checkpoint, read_checkpoint
from vit_tf.checkpoints import shards
from vit_tf.checkpoints.errors import CheckpointError, DownloadError, listing
from vit_tf.checkpoints.random import RANDOM, RandomTensors, seed_of
from vit_tf.configs import common
from vit_tf.export.bundle import ORIGIN, sha256
from vit_tf.find_config import config_of, note_of, same_models, untold
from vit_tf.imports import uncollected
from vit_tf.keras_file import WEIGHTS_H5
from vit_tf.layers.initializers import only_shapes
from vit_tf.proof import shared_arguments
from vit_tf.reference import label_names, pretrained_cfg, pretrained_tensors

# What a checkpoint is adapted to, where it was made for another value.
ADAPTED = ("img_size", "in_chans", "num_classes", "patch_size", "window_size")


@dataclasses.dataclass(frozen=True)
class Source:
    """Where the tensors come from.

    Attributes:
        uri: What was asked for.
        tensors: timm name -> array, fitting the configured model.
        facts: timm's `pretrained_cfg`: preprocessing, licence; and `label_names`.
        file: What was read, if it is a file.
        notes: What was found there and what was done with it, a line each.
        trained_by: "jax" where it was trained by JAX's function, or "timm".
    """

    uri: str
    tensors: checkpoints.Tensors
    facts: Mapping[str, Any]
    file: Path | None = None
    notes: tuple[str, ...] = ()
    trained_by: str = "timm"

    def hash(self) -> str:
        """The file's sha256, or "" where there is no file.

        Of a sharded checkpoint, that of its index and all files that it names.
        """
        if self.file is None:
            return ""
        named = shards.file_names(self.file) if shards.is_index(self.file) else []
        return sha256(self.file, *(self.file.with_name(name) for name in named))

    @property
    def commit(self) -> str:
        """That of a repository on the Hugging Face hub, or ""."""
        if self.file is None or self.file.parent.parent.name != "snapshots":
            return ""
        return self.file.parent.name  # as the hub's cache has it

    def to_json(self, dtype: str) -> dict[str, Any]:
        """What is known of it, where a model in `dtype` is made of it."""
        sizes, dtypes = [], set()
        for tensor in self.tensors.values():
            sizes.append(int(np.prod(tensor.shape)))
            dtypes.add(tensor.dtype.name)
        return {
            "uri": self.uri,
            "commit": self.commit,
            "tensors": len(sizes),
            "parameters": sum(sizes),
            "dtypes": sorted(dtypes),
            "notes": [*self.notes, *_rounding(dtypes, dtype)],
        }


def read(
    config: ConfigDict,
    checkpoint: str | Path = "",
    *,
    checkpoint_key: str = "",
    dialect: str = "",
) -> Source:
    """The tensors that `checkpoint` names, for the model that `config` describes.

    What was made for other images or another number of classes is adapted as timm
    does it, and the source's notes say so.

    Raises:
        CheckpointError: if they cannot be had, or were made for another model.
    """
    uri = str(checkpoint)
    if not uri or uri.startswith(RANDOM) or keras_file.is_keras_file(uri):
        _check_unused(uri, checkpoint_key=checkpoint_key, dialect=dialect)
    if not uri:
        return _pretrained(config)
    facts = _facts([f"{config.architecture}.{config.tag}".rstrip(".")])
    if uri.startswith(RANDOM):
        tensors = RandomTensors(parameter_shapes(config), seed_of(uri))
        return Source(uri, tensors, facts)
    if uri.endswith(WEIGHTS_H5):  # says nothing of its model
        path = checkpoints.fetch(uri)
        tensors = keras_file.read_tensors(path, config)
        return Source(uri, tensors, facts, path, ("weights that Keras saved",))
    opened = read_checkpoint(uri, checkpoint_key=checkpoint_key, dialect=dialect)
    stored = config_of(opened, config.architecture)
    _check_stated(opened, config)
    tensors, notes = _adapted(opened.tensors, stored.model.to_dict(), config)
    told = filter(None, [note_of(stored), untold(opened, config)])
    notes = [*opened.notes, *told, *notes]
    if config.inferred:
        facts = _facts(same := same_models(opened))
        notes.append(
            f"its model has these names: {listing(same, 4)}"
            if same
            else f"timm has no name for its model; the closest is {config.architecture}"
        )
    return Source(
        uri,
        tensors,
        facts | opened.facts,
        opened.path,
        tuple(notes),
        "jax" if opened.dialect == "flax" else "timm",
    )


def _check_unused(uri: str, **options: str) -> None:
    """
    Raises:
        CheckpointError: if an option is given that does not apply.
    """
    if given := [f"{name}={value!r}" for name, value in options.items() if value]:
        raise CheckpointError(
            f"{uri or 'timm'}: {', '.join(given)} found; expected: neither, as there "
            "is one model in it, under timm's names"
        )


def _rounding(dtypes: set[str], dtype: str) -> list[str]:
    if "float64" in dtypes and dtype != "float64":
        return ["float64 is rounded to float32: --config.dtype=float64 keeps it"]
    return []


def parameter_shapes(config: ConfigDict) -> dict[str, tuple[int, ...]]:
    """timm name -> shape in timm's layout, of every parameter of the model."""
    with only_shapes(), _collected_at_once():
        model = models.build(config)
        shapes = {entry.name: entry.shape for entry in mapping.entries(model)}
        del model
    return shapes


@contextlib.contextmanager
def _collected_at_once() -> Iterator[None]:
    """Afterwards, what was made within it and is not in use is gone.

    Objects stay in the garbage collector's first generation as long as it does not run,
    so they can be collected without going through all that there was before.
    """
    with uncollected():
        try:
            yield
        finally:
            gc.collect(0)


def _adapted(
    tensors: checkpoints.Tensors, stored: Mapping[str, Any], config: ConfigDict
) -> tuple[checkpoints.Tensors, list[str]]:
    wanted = config.model.to_dict()
    seed = config.parity.seed
    return adapt(tensors, stored, wanted, config.model_class, seed=seed)


def _pretrained(config: ConfigDict) -> Source:
    name = f"{config.architecture}.{config.tag}".rstrip(".")
    facts = pretrained_cfg(name)
    stored = {
        **shared_arguments(config),
        **common.tag_arguments(config.architecture, facts["tag"]),
    }
    try:
        tensors = pretrained_tensors(name, stored)
    except Exception as error:  # timm, a hub and a reader: each has its own
        kind = DownloadError if isinstance(_first(error), OSError) else CheckpointError
        raise kind(
            f"timm's weights for {name} cannot be had: {_reason(error)}. Expected: a "
            "connection, weights in timm's cache, or a file as --checkpoint"
        ) from error
    tensors, notes = _adapted(tensors, stored, config)
    if not facts.get("label_names"):
        facts["label_names"] = label_names(facts["num_classes"])
    return Source(f"timm:{name}", tensors, facts, notes=tuple(notes))


def _first(error: BaseException) -> BaseException:
    """What caused an error: a network's errors are OSErrors."""
    while error.__cause__:
        error = error.__cause__
    return error


def _reason(error: BaseException) -> str:
    """An error's first line, with that of what caused it."""
    said, why = (
        (str(e).strip() or type(e).__name__).splitlines()[0].rstrip(".")
        for e in (error, _first(error))
    )
    return said if why == said else f"{said} ({why})"


def _facts(names: Sequence[str]) -> dict[str, Any]:
    """How timm preprocesses for these models, where it does the same for all of them.

    Nothing on weights that are not timm's.
    """
    first, *others = map(pretrained_cfg, names) if names else [{}]
    return {
        name: value
        for name, value in first.items()
        if name not in ("license", "label_names", *ORIGIN)
        and all(other[name] == value for other in others)
    }


def _check_stated(opened: Checkpoint, config: ConfigDict) -> None:
    """Weights of one model in another may fit, and be wrong: num_heads has no shape."""
    asked = config.model.to_dict()
    differing = [
        f"{name}={value!r} found, {asked.get(name)!r} expected"
        for name, value in opened.arguments.items()
        if name not in ADAPTED
        and not name.endswith("_rate")
        and plain(value) != plain(asked.get(name))
    ]
    if differing:
        raise CheckpointError(f"{opened.stated_in}: {'; '.join(differing)}")
