"""Tensors made from others, one by one, when they are asked for."""

import dataclasses
from collections.abc import Callable, Iterator, Mapping

import numpy as np

from vit_tf.checkpoints.errors import CheckpointError


def unchanged(tensor: np.ndarray) -> np.ndarray:
    return tensor


@dataclasses.dataclass(frozen=True)
class Edit:
    """How one tensor is made.

    Attributes:
        sources: The names of what it is made from.
        make: From those arrays, in that order, to the new one.
    """

    sources: tuple[str, ...]
    make: Callable[..., np.ndarray] = unchanged


class EditedTensors(Mapping[str, np.ndarray]):
    """Tensors under new names, each made from some of the given ones.

    Nothing is computed before it is asked for, nor kept: what is mapped from a file
    stays there.

    Args:
        tensors: name -> array.
        edits: new name -> how it is made. What no edit names is left out.

    Raises:
        CheckpointError: when a tensor is asked for whose sources have shapes of which
            it cannot be made.
    """

    def __init__(self, tensors: Mapping[str, np.ndarray], edits: Mapping[str, Edit]):
        self._tensors = tensors
        self._edits = dict(edits)

    def __getitem__(self, name: str) -> np.ndarray:
        edit = self._edits[name]
        sources = {source: self._tensors[source] for source in edit.sources}
        try:
            return edit.make(*sources.values())
        except (ValueError, IndexError, TypeError) as error:
            found = ", ".join(f"{n} {tuple(t.shape)}" for n, t in sources.items())
            raise CheckpointError(
                f"{found} found; expected: shapes of which {name} can be made ({error})"
            ) from error

    def __iter__(self) -> Iterator[str]:
        return iter(self._edits)

    def __len__(self) -> int:
        return len(self._edits)

    @property
    def sources(self) -> set[str]:
        """The names of all tensors that these are made from."""
        return {source for edit in self._edits.values() for source in edit.sources}


def renamed(names: Mapping[str, str]) -> dict[str, Edit]:
    """Edits that give tensors other names: old -> new."""
    return {new: Edit((old,)) for old, new in names.items()}
