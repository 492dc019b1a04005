"""Pickles that are neither longer nor deeper than a model's."""

import pickletools
from collections.abc import Iterator
from typing import IO, Any

from vit_tf.checkpoints.errors import TooLargeCheckpointError

STEPS = 1_000_000  # a model has some thirty a tensor
DEPTH = 100  # of tuples in tuples: Python's own stack ends where it hashes a deep one


def check_pickle(file: IO[bytes], name: str) -> None:
    """Reads through a pickle without building anything, up to its end.

    torch's reader runs nothing of a hostile pickle, but Python itself crashes on a
    dict's key of a million tuples in each other.

    Args:
        file: Where the pickle begins.
        name: The file's, for messages.

    Raises:
        ValueError: if it is no pickle.
        TooLargeCheckpointError: if it takes too many steps, or is too deep.
    """
    for step, depth in enumerate(_depths(file)):
        if step == STEPS:
            raise TooLargeCheckpointError(
                f"{name}: a pickle of more than {STEPS:,} steps found; expected: a "
                "model's tensors by name"
            )
        if depth > DEPTH:
            raise TooLargeCheckpointError(
                f"{name}: more than {DEPTH} tuples in each other found; expected: a "
                "model's tensors by name"
            )


def _depths(file: IO[bytes]) -> Iterator[int]:
    """After each step, how many tuples are in each other in what it leaves on top.

    What is not a tuple is as deep as the deepest that it was made from.
    """
    stack: list[Any] = []  # depths, and marks
    memo: dict[int, int] = {}
    mark = object()
    for opcode, argument, _ in pickletools.genops(file):
        top = stack[-1] if stack and stack[-1] is not mark else 0
        if opcode.name == "MARK":
            stack.append(mark)
        elif opcode.name in ("PUT", "BINPUT", "LONG_BINPUT"):
            memo[argument] = top
        elif opcode.name == "MEMOIZE":
            memo[len(memo)] = top
        elif opcode.name in ("GET", "BINGET", "LONG_BINGET"):
            stack.append(memo.get(argument, 0))
        else:
            taken = _taken(stack, opcode.stack_before, mark)
            depth = max(taken, default=0) + opcode.name.startswith("TUPLE")
            stack += [depth] * len(opcode.stack_after)
        yield stack[-1] if stack and stack[-1] is not mark else 0


def _taken(stack: list[Any], before: list[Any], mark: object) -> list[int]:
    """Takes off the stack what a step takes: so many, or all up to a mark."""
    taken: list[int] = []
    if pickletools.markobject in before:
        while stack and (value := stack.pop()) is not mark:
            taken.append(value)
        before = before[: before.index(pickletools.markobject)]
    for _ in before[: len(stack)]:
        value = stack.pop()
        taken += [value] if value is not mark else []
    return taken
