"""A file's names turned into timm's by rules."""

import re
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence

import numpy as np

from vit_tf.checkpoints.edits import Edit, renamed
from vit_tf.checkpoints.errors import UnknownLayoutError, listing

# A pattern, and what `re.sub` puts in its place.
Rules = Sequence[tuple[str, str | Callable[[re.Match], str]]]


def left_out(
    names: Collection[str], reasons: Mapping[str, str]
) -> tuple[list[str], dict[str, str]]:
    """Parts what is translated from what is not.

    Args:
        names: The file's.
        reasons: Pattern of a whole name -> why such a tensor is left out.

    Returns:
        The names that remain, and name -> reason for the others.
    """
    dropped = {
        name: reason
        for name in names
        for pattern, reason in reasons.items()
        if re.fullmatch(pattern, name)
    }
    return [name for name in names if name not in dropped], dropped


def rewritten(names: Iterable[str], rules: Rules) -> dict[str, Edit]:
    """Edits that give tensors the names that the rules make of theirs.

    Args:
        names: The file's.
        rules: Applied in their order; a name that none fits stays.

    Raises:
        UnknownLayoutError: if two tensors get the same name, listing all such.
    """
    new = {name: _rewrite(name, rules) for name in names}
    sources: dict[str, list[str]] = {}
    for old, name in new.items():
        sources.setdefault(name, []).append(old)
    if twice := [
        f"{' and '.join(old)} (both {name})"
        for name, old in sources.items()
        if len(old) > 1
    ]:
        raise UnknownLayoutError(
            f"{listing(twice)} found; expected: one tensor for each of timm's names"
        )
    return renamed(new)


def joined(
    edits: Mapping[str, Edit], parts: Sequence[str], whole: str
) -> dict[str, Edit]:
    """Edits that put tensors together, one behind the other.

    Where a part is missing, the others go by the names that they have in the file: the
    mapping then says what does not fit.

    Args:
        edits: timm name -> edit, of one source each.
        parts: How the parts' names end before ".weight" or ".bias", in their order:
            "attn.q", "attn.k", "attn.v".
        whole: How the new tensor's name ends instead: "attn.qkv".
    """
    found = dict(edits)
    alternatives = "|".join(map(re.escape, parts))
    pattern = re.compile(rf"(.*\.)(?:{alternatives})\.(weight|bias)")
    for start, kind in dict.fromkeys(
        match.groups() for name in edits if (match := pattern.fullmatch(name))
    ):
        names = [f"{start}{part}.{kind}" for part in parts]
        sources = [edits[name].sources[0] for name in names if name in edits]
        for name in names:
            found.pop(name, None)
        if len(sources) == len(parts):
            found[f"{start}{whole}.{kind}"] = Edit(tuple(sources), concatenated)
        else:
            found |= renamed({source: source for source in sources})
    return found


def concatenated(*tensors: np.ndarray) -> np.ndarray:
    return np.concatenate(tensors)


def _rewrite(name: str, rules: Rules) -> str:
    for pattern, replacement in rules:
        name = re.sub(pattern, replacement, name)
    return name
