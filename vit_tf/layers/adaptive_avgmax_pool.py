"""The pooling of a feature map to one vector."""

import keras
import tensorflow as tf
from keras import ops

from vit_tf.layers.identity import Identity
from vit_tf.layers.module import Module

POOLS = ("", "avg", "max", "avgmax", "catavgmax")


class SelectAdaptivePool2d(Module):
    """timm's `layers/adaptive_avgmax_pool.py`, channels last, to a single vector.

    Args:
        pool_type: The "avg" or "max" over height and width, the mean of both
            ("avgmax"), both side by side ("catavgmax"), or "" for none.

    Raises:
        ValueError: if `pool_type` is none of these.
    """

    def __init__(self, pool_type: str = "avg", **kwargs):
        super().__init__(**kwargs)
        if pool_type not in POOLS:
            raise ValueError(f"pool_type={pool_type!r}: expected one of {POOLS}")
        self.pool_type = pool_type

    def build(self, input_shape):
        make = _Pool if self.pool_type else Identity
        pool_type = dict(pool_type=self.pool_type) if self.pool_type else {}
        self.pool = make(**pool_type, dtype=self.dtype_policy, name="pool")
        self.pool.build(input_shape)

    def call(self, x: tf.Tensor) -> tf.Tensor:
        return self.pool(x)

    def compute_output_shape(self, input_shape):
        if not self.pool_type:
            return input_shape
        return (input_shape[0], self.feat_mult() * input_shape[-1])

    def feat_mult(self) -> int:
        """How many times as wide as the features the pooled ones are."""
        return 2 if self.pool_type == "catavgmax" else 1


class _Pool(keras.layers.Layer):
    """(B, H, W, C) to (B, C), or to (B, 2C) for "catavgmax"."""

    def __init__(self, pool_type: str, **kwargs):
        super().__init__(**kwargs)
        self.pool_type = pool_type

    def call(self, x: tf.Tensor) -> tf.Tensor:
        if self.pool_type == "avg":
            return ops.mean(x, axis=(1, 2))
        if self.pool_type == "max":
            return ops.max(x, axis=(1, 2))
        average, largest = ops.mean(x, axis=(1, 2)), ops.max(x, axis=(1, 2))
        if self.pool_type == "avgmax":
            return 0.5 * average + 0.5 * largest
        return ops.concatenate([average, largest], axis=1)

    def compute_output_shape(self, input_shape):
        width = 2 if self.pool_type == "catavgmax" else 1
        return (input_shape[0], width * input_shape[-1])
