"""Random tensors in place of trained ones: `random:SEED`."""

import zlib
from collections.abc import Iterator, Mapping

import numpy as np

from vit_tf.checkpoints.errors import CheckpointError

RANDOM = "random:"


class RandomTensors(Mapping[str, np.ndarray]):
    """A value for every parameter, the same for the same seed; made when asked for.

    A fresh model hides mistakes: two thirds of its tensors are constants. Here none
    is, and sizes are such that attention is far from uniform and activations reach
    where they bend.

    Args:
        shapes: timm name -> shape.
        seed: What the values are drawn from, with the names.
    """

    def __init__(self, shapes: Mapping[str, tuple[int, ...]], seed: int):
        self._shapes = dict(shapes)
        self._seed = seed

    def __getitem__(self, name: str) -> np.ndarray:
        shape = self._shapes[name]
        rng = np.random.default_rng([self._seed, zlib.crc32(name.encode())])
        kind = name.rpartition(".")[2]
        if kind == "num_batches_tracked":  # what torch calls these two everywhere
            return rng.integers(1, 1000, shape)
        if kind == "running_var":
            return rng.uniform(0.5, 2, shape).astype(np.float32)
        values = rng.standard_normal(shape, np.float32)
        if kind.startswith("lambda_"):  # of an exponent: a norm hides what is large
            return values * np.float32(0.1)
        if len(shape) in (2, 4):  # a projection: its output is as large as its input
            values *= np.float32(np.prod(shape[1:]) ** -0.5)
        else:  # a factor, a bias, an embedding
            values *= np.float32(0.5)
            values += np.float32(0.5 if len(shape) == 1 else 0)
        return values

    def __iter__(self) -> Iterator[str]:
        return iter(self._shapes)

    def __len__(self) -> int:
        return len(self._shapes)


def seed_of(uri: str) -> int:
    """The seed that "random:SEED" names.

    Raises:
        CheckpointError: if it is no whole number.
    """
    text = uri.removeprefix(RANDOM)
    if not text.isdecimal():
        raise CheckpointError(
            f"checkpoint {uri!r}: {text!r} found, a whole number expected after "
            f"{RANDOM!r}"
        )
    return int(text)
