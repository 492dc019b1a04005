"""timm's weight initialisation, which a conversion switches off."""

import contextlib
import math
from collections.abc import Iterator

import keras

_skip = False


@contextlib.contextmanager
def skip_init() -> Iterator[None]:
    """Within it, weights of new models are zeros: a checkpoint fills them.

    timm's `weight_init="skip"`. Random numbers for a ViT-L take twelve seconds, only
    to be overwritten.
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
        return _or_zeros(super().__call__, shape, dtype)

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
        return _or_zeros(super().__call__, shape, dtype)

    def get_config(self) -> dict:
        return {"fan_in": self.fan_in, "seed": self._init_seed}


def _or_zeros(initialize, shape, dtype):
    return keras.ops.zeros(shape, dtype) if _skip else initialize(shape, dtype)
