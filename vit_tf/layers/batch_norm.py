"""Batch normalisation with torch's running statistics."""

import math

import keras
import tensorflow as tf
from keras import ops

from vit_tf.layers.precision import wide
from vit_tf.layers.sizes import sizes

NO_VARIANCE = "more than one value per channel expected while a BatchNorm trains"


class BatchNorm2d(keras.layers.Layer):
    """https://arxiv.org/abs/1502.03167; torch's `nn.BatchNorm2d`.

    In training each batch is normalised by its own mean and (biased) variance, and the
    running statistics move towards its mean and its *unbiased* variance. Keras's own
    layer moves towards the biased one, and keeps no count of the batches. Half
    precision is normalised in float32. A layer that is not `trainable` normalises by
    the running statistics, as Keras's own.

    Args:
        eps: Added to the variance.
        momentum: How far the running statistics move, from 0 to 1.
        zero_init: Whether `weight` starts from 0, so that a residual branch that ends
            here starts as nothing.

    Raises:
        ValueError: in training, for a single value a channel, which has no variance;
            where the batch is not known until the graph runs,
            tf.errors.InvalidArgumentError then.
    """

    def __init__(
        self,
        eps: float = 1e-5,
        momentum: float = 0.1,
        *,
        zero_init: bool = False,
        **kwargs,
    ):
        super().__init__(**kwargs)
        self.eps = eps
        self.momentum = momentum
        self.zero_init = zero_init

    def build(self, input_shape):
        self.weight = self._per_channel(
            "weight", input_shape, "zeros" if self.zero_init else "ones"
        )
        self.bias = self._per_channel("bias", input_shape, "zeros")
        self.running_mean = self._per_channel(
            "running_mean", input_shape, "zeros", trainable=False
        )
        self.running_var = self._per_channel(
            "running_var", input_shape, "ones", trainable=False
        )
        self.num_batches_tracked = self.add_weight(
            name="num_batches_tracked",
            shape=(),
            dtype="int64",
            initializer="zeros",
            trainable=False,
        )

    def call(self, x: tf.Tensor, training: bool = False) -> tf.Tensor:
        y = wide(x)
        mean, variance = self.running_mean, self.running_var
        if training and self.trainable:
            mean = ops.mean(y, axis=(0, 1, 2))
            variance = ops.mean(ops.square(y - mean), axis=(0, 1, 2))
            self._track(mean, variance, count=math.prod(sizes(y, 0, 1, 2)))
        scale = self.weight * ops.rsqrt(variance + self.eps)
        y = y * scale + (self.bias - mean * scale)
        return ops.cast(y, x.dtype)

    def compute_output_shape(self, input_shape):
        return input_shape

    def _per_channel(self, name, input_shape, initializer, trainable=True):
        return self.add_weight(
            name=name,
            shape=(input_shape[-1],),
            initializer=initializer,
            trainable=trainable,
            autocast=False,
        )

    def _track(
        self, mean: tf.Tensor, variance: tf.Tensor, count: int | tf.Tensor
    ) -> None:
        """Moves the running statistics towards those of a batch of `count` values."""
        if isinstance(count, int) and count < 2:
            raise ValueError(NO_VARIANCE)
        tf.debugging.assert_greater(count, 1, NO_VARIANCE)
        count = ops.cast(count, variance.dtype)
        unbiased = variance * (count / (count - 1))
        for running, batch in ((self.running_mean, mean), (self.running_var, unbiased)):
            momentum = tf.constant(self.momentum, batch.dtype)
            running.assign((1 - momentum) * running + momentum * batch)
        self.num_batches_tracked.assign_add(1)
