"""Which entry of a training script's file is the model."""

import dataclasses
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from vit_tf.checkpoints.errors import UnknownLayoutError, listing

# Where training scripts put a model, the first that is there: averaged weights before
# those that were averaged, as timm has it (`timm.models.load_state_dict`).
PREFERRED = (
    "state_dict_ema", "model_ema", "ema_state_dict", "model_ema_state_dict", "ema",
    "state_dict", "model_state_dict", "model", "net", "network", "module",
    "backbone", "encoder", "params",
)  # fmt: skip
DEPTH = 8  # keys above the tensors


@dataclasses.dataclass(frozen=True)
class Choice:
    """The entry that was chosen.

    Attributes:
        tensors: What it holds, by name.
        key: Where it was found, "state_dict.model"; "" for the file's top.
        alternatives: Keys of other entries that hold a model.
        beside: Keys of what holds none.
        asked: What is left of the key that was asked for: not an entry of the file.
    """

    tensors: Mapping[str, Any]
    key: str = ""
    alternatives: tuple[str, ...] = ()
    beside: tuple[str, ...] = ()
    asked: str = ""


def choose(
    path: Path, content: Any, asked: str, is_tensor: Callable[[Any], bool]
) -> Choice:
    """Finds the model in what a file holds.

    Args:
        path: The file, for messages.
        content: What it holds: tensors by name, or a mapping that holds such mappings.
        asked: The key of the entry to take, "teacher" or "state_dict.model"; "" for
            the one that timm would take, or the only one.
        is_tensor: What a tensor is.

    Raises:
        UnknownLayoutError: if several entries may be meant.
    """
    keys: list[str] = []
    alternatives: list[str] = []
    beside: list[str] = []
    for _ in range(DEPTH):
        if not isinstance(content, Mapping):
            break
        key, left = _entry(content, asked)
        found = _models(content, is_tensor)
        if not key:
            if _is_state_dict(content, is_tensor) or not found:
                break
            key = _preferred(path, found, ".".join(keys))
        else:
            asked = left
        above = ".".join([*keys, ""])
        alternatives += [above + other for other in found if other != key]
        beside += [f"{above}{other}" for other in content if other not in (key, *found)]
        keys.append(key)
        content = content[key]
    return Choice(content, ".".join(keys), tuple(alternatives), tuple(beside), asked)


def _entry(content: Mapping[Any, Any], asked: str) -> tuple[str, str]:
    """The entry that `asked` names or begins with, and the rest of it."""
    parts = asked.split(".")
    for count in range(len(parts), 0, -1):
        key = ".".join(parts[:count])
        if isinstance(content.get(key), Mapping):
            return key, ".".join(parts[count:])
    return "", asked


def _models(content: Mapping[Any, Any], is_tensor: Callable[[Any], bool]) -> list[str]:
    """The keys under which a model seems to be."""
    return [
        key
        for key, value in content.items()
        if isinstance(value, Mapping) and _holds_model(key, value, is_tensor)
    ]


def _preferred(path: Path, found: list[str], above: str) -> str:
    for key in PREFERRED:
        if key in found:
            return key
    if len(found) > 1:
        where = f" under {above!r}" if above else ""
        raise UnknownLayoutError(
            f"{path}: models under {listing(map(repr, found))} found{where}; expected: "
            "checkpoint_key to say which one is meant"
        )
    return found[0]


def _is_state_dict(
    content: Mapping[Any, Any], is_tensor: Callable[[Any], bool]
) -> bool:
    return bool(content) and all(
        isinstance(key, str) and is_tensor(value) for key, value in content.items()
    )


def _holds_model(
    key: Any, content: Mapping[Any, Any], is_tensor: Callable[[Any], bool]
) -> bool:
    """Whether these are a module's tensors, and not, say, the centre of a loss."""
    if key in PREFERRED and _leads(content, is_tensor):
        return True
    names_modules = isinstance(key, str) and any("." in str(name) for name in content)
    return names_modules and _is_state_dict(content, is_tensor)


def _leads(content: Mapping[Any, Any], is_tensor: Callable[[Any], bool]) -> bool:
    """Whether there is a tensor here, or under another of the known keys."""
    inner = (content[key] for key in PREFERRED if isinstance(content.get(key), Mapping))
    return any(
        is_tensor(value) for mapping in (content, *inner) for value in mapping.values()
    )
