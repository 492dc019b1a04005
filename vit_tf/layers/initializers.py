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


@contextlib.contextmanager
def only_shapes() -> Iterator[None]:
    """Within it, weights of new models have shapes and dtypes, and no values.

    Such a model says what tensors it takes, and cannot run.
    """

    def spec(_, *, initial_value, **__):
        value = initial_value() if callable(initial_value) else initial_value
        return tf.TensorSpec.from_tensor(tf.convert_to_tensor(value))

    with skip_init(), tf.variable_creator_scope(spec):
        yield


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


@keras.saving.register_keras_serializable(package="vit_tf")
class FanOutNormal(keras.initializers.VarianceScaling):
    """torch's `kaiming_normal_(mode="fan_out", nonlinearity="relu")`."""

    def __init__(self, seed: int | None = None):
        super().__init__(2.0, "fan_out", "untruncated_normal", seed)

    def __call__(self, shape, dtype=None):
        return _or_nothing(super().__call__, shape, dtype)

    def get_config(self) -> dict:
        return {"seed": self._init_seed}


@keras.saving.register_keras_serializable(package="vit_tf")
class CutNormal(keras.initializers.TruncatedNormal):
    """timm's `trunc_normal_tf_`: a normal distribution, cut at two deviations."""

    def __call__(self, shape, dtype=None):
        return _or_nothing(super().__call__, shape, dtype)


@keras.saving.register_keras_serializable(package="vit_tf")
class HalfGate(keras.initializers.Initializer):
    """The second half of the outputs starts as an open gate, `timm.layers.GluMlp`.

    Args:
        rest: What the first half starts from.
        gate: What the second does.
    """

    def __init__(
        self,
        rest: keras.initializers.Initializer,
        gate: keras.initializers.Initializer,
    ):
        self.rest, self.gate = rest, gate

    def __call__(self, shape, dtype=None):
        return _or_nothing(self._halves, shape, dtype)

    def _halves(self, shape, dtype):
        half = (*shape[:-1], shape[-1] // 2)
        halves = [self.rest(half, dtype), self.gate(half, dtype)]
        return keras.ops.concatenate(halves, axis=-1)

    def get_config(self) -> dict:
        return {
            "rest": keras.saving.serialize_keras_object(self.rest),
            "gate": keras.saving.serialize_keras_object(self.gate),
        }

    @classmethod
    def from_config(cls, config: dict):
        return cls(**{k: keras.initializers.get(v) for k, v in config.items()})


def _or_nothing(initialize, shape, dtype):
    if not _skip:
        return initialize(shape, dtype)
    return tf.raw_ops.Empty(shape=shape, dtype=tf.as_dtype(dtype), init=False)
