"""What wrappers of a module put before every name: "module.", "model.backbone."."""

import dataclasses
import re
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path

import numpy as np

from vit_tf.checkpoints.edits import EditedTensors, renamed
from vit_tf.checkpoints.errors import UnknownLayoutError, listing

# Attributes in which torch, Lightning and training scripts keep the model.
WRAPPERS = (
    "_orig_mod", "module", "_forward_module", "model", "base_model", "net", "network",
    "backbone", "encoder", "ema", "model_ema", "ema_model", "averaged_model",
    "student", "teacher",
)  # fmt: skip
# What begins a transformer: a wrapper that has it holds the whole of it.
PATCHES = ("patch_embed", "patch_embeddings", "patch_embedding", "embeddings")
# What a wrapper has beside the model: losses, metrics, torch's `AveragedModel`.
BESIDE = re.compile(
    r"n_averaged|(train|val|valid|test)_\w+"
    r"|(\w+_)?(loss|losses|criterion|metrics?|acc|accuracy|auroc|f1)(_\w+)?"
)


@dataclasses.dataclass(frozen=True)
class Unwrapped:
    """Tensors by the names that they have in the model.

    Attributes:
        tensors: name -> array.
        prefix: What was before the names, "module.backbone."; "" for nothing. A name
            that was without it is as it was.
        beside: Names of tensors of the wrapper itself, which are left out.
    """

    tensors: Mapping[str, np.ndarray]
    prefix: str = ""
    beside: tuple[str, ...] = ()


def unwrap(
    path: Path,
    tensors: Mapping[str, np.ndarray],
    asked: str = "",
    keys: Sequence[str] = (),
) -> Unwrapped:
    """Takes off what is before the names.

    Args:
        path: The file, for messages.
        tensors: The file's name -> array.
        asked: A prefix, "teacher": only the tensors under it are meant.
        keys: What else could have been asked for, for messages.

    Raises:
        UnknownLayoutError: if there is nothing under `asked`, several models are in
            the file, or a name without the prefix is another's with it.
    """
    names = {name: name for name in tensors}  # in the model -> in the file
    prefix, beside = "", []
    if asked:
        prefix, names, beside = _under(path, names, asked, keys)
    while wrapper := _wrapper(path, names, prefix):
        own = [] if _is_all(names, wrapper) else _own(names, wrapper)
        beside += [names.pop(name) for name in own]
        names = _without(path, names, wrapper)
        prefix += wrapper
    if not prefix:
        return Unwrapped(tensors)
    edits = renamed({old: new for new, old in names.items()})
    return Unwrapped(EditedTensors(tensors, edits), prefix, tuple(beside))


def _under(
    path: Path, names: Mapping[str, str], asked: str, keys: Sequence[str]
) -> tuple[str, dict[str, str], list[str]]:
    """The names under `asked`, without it, and all others."""
    prefix = f"{asked}."
    inside = {n.removeprefix(prefix): n for n in names if n.startswith(prefix)}
    if not inside:
        raise UnknownLayoutError(
            f"{path}: checkpoint_key={asked!r} found, expected one of: "
            f"{listing((*keys, *_modules(names)))}"
        )
    return prefix, inside, [name for name in names if not name.startswith(prefix)]


def _wrapper(path: Path, names: Collection[str], above: str) -> str:
    """The prefix of all names that belong to the model, or ""."""
    modules = _modules(names)
    wrappers = [m for m in modules if m in WRAPPERS and m not in names]
    others = [module for module in modules if not BESIDE.fullmatch(module)]
    if len(others) == 1 and wrappers == others:
        return f"{others[0]}."
    whole = [wrapper for wrapper in wrappers if _has_patches(names, f"{wrapper}.")]
    if len(whole) > 1:
        found = listing(f"'{above}{wrapper}'" for wrapper in whole)
        raise UnknownLayoutError(
            f"{path}: models under {found} found; expected: checkpoint_key to say "
            "which one is meant"
        )
    if not whole or any(module in PATCHES for module in modules):
        return ""
    return f"{whole[0]}."


def _modules(names: Collection[str]) -> list[str]:
    """The first part of every name that has several, and names that have one."""
    return list(dict.fromkeys(name.partition(".")[0] for name in names))


def _is_all(names: Collection[str], prefix: str) -> bool:
    return all(name.startswith(prefix) for name in names)


def _own(names: Collection[str], prefix: str) -> list[str]:
    """The names of a wrapper's own tensors."""
    return [
        name
        for name in names
        if not name.startswith(prefix) and BESIDE.fullmatch(name.partition(".")[0])
    ]


def _has_patches(names: Collection[str], prefix: str) -> bool:
    return any(
        name.startswith(prefix) and not set(PATCHES).isdisjoint(name.split("."))
        for name in names
    )


def _without(path: Path, names: Mapping[str, str], prefix: str) -> dict[str, str]:
    found: dict[str, str] = {}
    twice = []
    for name, original in names.items():
        short = name.removeprefix(prefix)
        if found.setdefault(short, original) != original:
            twice.append(short)
    if twice:
        raise UnknownLayoutError(
            f"{path}: {listing(twice)} found both with and without {prefix!r} before; "
            "expected: one of them"
        )
    return found
