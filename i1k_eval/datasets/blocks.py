"""A data set in blocks of rows: what is broken in one ends it, not those behind it."""

import itertools
from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple

from i1k_eval.datasets.classes import Classes
from i1k_eval.datasets.dataset import Dataset, Example, printable

Errors = tuple[type[Exception], ...]


class Block(NamedTuple):
    """Rows that are read one after the other.

    Attributes:
        names: each row's.
        read: the examples from a row of the block to before another.
    """

    names: Sequence[str]
    read: Callable[[int, int], Iterator[Example]]


def of_blocks(
    name: str, blocks: Sequence[Block], classes: Classes, errors: Errors
) -> Dataset:
    """A data set of blocks.

    Args:
        name: what the user named.
        blocks: in their order.
        classes: which logit is which class.
        errors: what reading a block raises where it is broken.
    """

    def read(start: int, stop: int) -> Iterator[Example]:
        first = 0
        for block in blocks:
            low, high = max(start - first, 0), min(stop - first, len(block.names))
            if low < high:
                yield from _or_errors(block, low, high, errors)
            first += len(block.names)

    return Dataset(
        name,
        [row for block in blocks for row in block.names],
        read,
        classes=classes.subset,
        imagenet=classes.imagenet,
        class_names=classes.names,
    )


def _or_errors(block: Block, low: int, high: int, errors: Errors) -> Iterator[Example]:
    """A block's rows; where reading breaks off, an error for each that is left."""
    given = low
    try:
        for example in itertools.islice(block.read(low, high), high - low):
            yield example
            given += 1
        reason = f"{given - low} rows were found where {high - low} were expected"
    except errors as error:
        reason = str(error).partition("\n")[0] or type(error).__name__
    for name in block.names[given:high]:
        yield Example(name, b"", frozenset(), printable(reason))
