"""A checkpoint as timm would have it, and all that is known about it."""

import dataclasses
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from vit_tf import keras_file, models
from vit_tf.checkpoints import (
    Contents,
    Tensors,
    dialects,
    fetch,
    local_dir,
    open_checkpoint,
    preprocessor_config,
)
from vit_tf.checkpoints.dialects.dialect import Translation
from vit_tf.checkpoints.errors import CheckpointError, listing


@dataclasses.dataclass(frozen=True)
class Checkpoint:
    """A checkpoint in timm's names and layout.

    Attributes:
        uri: What it was asked for as.
        path: The file that was read.
        dialect: Whose names it has, e.g. "transformers".
        tensors: timm name -> array.
        stated_in: The file that states what no tensor tells: a `config.json`, if there
            is one, or the checkpoint itself.
        architecture: timm's name of it, where it is stated; or "".
        family: The module of timm that has the model's class, where the names tell.
        arguments: Constructor arguments that names or a `config.json` state.
        facts: Preprocessing, licence, label names, where a `config.json` states them.
        notes: What was found and what was done, a line each.
    """

    uri: str
    path: Path
    dialect: str
    tensors: Tensors
    stated_in: Path
    architecture: str
    family: str
    arguments: Mapping[str, Any]
    facts: Mapping[str, Any]
    notes: tuple[str, ...]


def read_checkpoint(
    uri: str | Path, *, checkpoint_key: str = "", dialect: str = ""
) -> Checkpoint:
    """Opens a checkpoint of any kind; tensors are read when they are asked for.

    Args:
        uri: A file or folder, `hf-hub:org/name`, `https://...` or `gs://...`.
        checkpoint_key: Under which of its keys the weights are, e.g. "model_ema"; ""
            to find out.
        dialect: Whose names they have, e.g. "transformers"; "" to find out.

    Raises:
        CheckpointError: if there is none, it cannot be read safely, or nobody's names
            are known to be like its own.
    """
    path = fetch(uri)
    if keras_file.is_keras_file(path):
        return _of_keras(str(uri), path)
    contents = open_checkpoint(path, checkpoint_key)
    spoken = dialects.detect(contents.tensors, dialect)
    of_timm = "architecture" in contents.config
    translation = spoken.translate(contents.tensors, {} if of_timm else contents.config)
    stated: Mapping[str, Any] = {}
    if of_timm:
        stated = local_dir.read_config(contents.path.parent)
    return Checkpoint(
        uri=str(uri),
        path=contents.path,
        dialect=spoken.name,
        tensors=translation.tensors,
        stated_in=contents.path.with_name("config.json")
        if contents.config
        else contents.path,
        architecture=stated.get("architecture", ""),
        family=translation.family,
        arguments=_joined(uri, translation.arguments, stated.get("model_args", {})),
        facts={
            **preprocessor_config.facts_beside(contents.path),
            **translation.facts,
            **_facts(stated),
        },
        notes=_notes(contents, spoken.title, translation),
    )


def _of_keras(uri: str, path: Path) -> Checkpoint:
    """What a `.keras` of one of our models holds: it says all of itself."""
    config = keras_file.read_config(path)
    known = config.architecture in models.list_models()
    return Checkpoint(
        uri=uri,
        path=path,
        dialect="timm",
        tensors=keras_file.read_tensors(path, config),
        stated_in=path,
        architecture=config.architecture if known else "",
        family=config.family,
        arguments=config.model.to_dict(),
        facts={},
        notes=("a model that Keras saved",),
    )


def _joined(
    uri: str | Path, told: Mapping[str, Any], stated: Mapping[str, Any]
) -> dict[str, Any]:
    """What names tell and `config.json` states, where they do not contradict."""
    problems = [
        f"{name}={stated[name]!r} by its config.json, {value!r} by its tensors"
        for name, value in told.items()
        if name in stated and stated[name] != value
    ]
    if problems:
        raise CheckpointError(f"{uri}: {'; '.join(problems)}; expected: the same")
    return {**told, **stated}


def _facts(stated: Mapping[str, Any]) -> dict[str, Any]:
    if not stated:
        return {}
    return {**stated["pretrained_cfg"], "label_names": stated["label_names"]}


def _notes(contents: Contents, title: str, translation: Translation) -> tuple[str, ...]:
    where = f", under {contents.key!r}" if contents.key else ""
    where += f", behind {contents.prefix!r}" if contents.prefix else ""
    notes = [f"names of {title}{where}"]
    if contents.alternatives:
        notes.append(
            f"also there, by --checkpoint_key: {listing(contents.alternatives)}"
        )
    if contents.beside:
        notes.append(f"not read: {listing(contents.beside)}")
    reasons: dict[str, list[str]] = {}
    for name, reason in translation.left_out.items():
        reasons.setdefault(reason, []).append(name)
    notes += [
        f"left out: {listing(names, 3)} ({len(names)}): {reason}"
        for reason, names in reasons.items()
    ]
    return tuple(notes)
