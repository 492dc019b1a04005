"""timm's weight initialisation, which a conversion switches off."""

import contextlib
import math
from collections.abc import Iterator

import keras
import tensorflow as tf

_skip = False


@contextlib.contextmanager
def skip_init() -> Iterator[None]:
    """Within it, large weights of new models hold whatever the memory held.

    timm's `weight_init="skip"`, for a checkpoint that fills them all. Random numbers
    for a ViT-L take twelve seconds, and zeros two, only to be overwritten.
    """
    global _skip
    before, _skip = _skip, True
    try:
        yield
    finally:
        _skip = before


@keras.saving.register_keras_serializable(package="vit_tf")
class Normal(keras.initializers.RandomNormal):
    """timm's `trunc_normal_(std=.02)`: truncated at +-2, which is nowhere."""

    def __init__(self, stddev: float = 0.02, seed: int | None = None):
        super().__init__(stddev=stddev, seed=seed)

    def __call__(self, shape, dtype=None):
        return _or_nothing(super().__call__, shape, dtype)

    def get_config(self) -> dict:
        return {"stddev": self.stddev, "seed": self._init_seed}


@keras.saving.register_keras_serializable(package="vit_tf")
class FanInUniform(keras.initializers.RandomUniform):
    """torch's default for convolutions: uniform within +-1/sqrt(fan_in)."""

    def __init__(self, fan_in: int, seed: int | None = None):
        self.fan_in = fan_in
        bound = 1 / math.sqrt(fan_in)
        super().__init__(minval=-bound, maxval=bound, seed=seed)

    def __call__(self, shape, dtype=None):
        return _or_nothing(super().__call__, shape, dtype)

    def get_config(self) -> dict:
        return {"fan_in": self.fan_in, "seed": self._init_seed}


def _or_nothing(initialize, shape, dtype):
    if not _skip:
        return initialize(shape, dtype)
    return tf.raw_ops.Empty(shape=shape, dtype=tf.as_dtype(dtype), init=False)
