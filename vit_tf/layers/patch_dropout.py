"""PatchDropout: a random part of the patches left out while training."""

import keras
import tensorflow as tf
from keras import ops

from vit_tf.layers.sizes import sizes


class PatchDropout(keras.layers.Layer):
    """Keeps the prefix tokens and a random selection of the others.

    https://arxiv.org/abs/2212.00794; timm's `layers/patch_dropout.py`. The selection
    differs from image to image and, as in timm's default, does not keep its order.

    Args:
        prob: The part of the patches that is dropped, 0 <= prob < 1.
        num_prefix_tokens: Class and register tokens, which always stay.

    Raises:
        ValueError: if `prob` is not in that range.
    """

    def __init__(self, prob: float = 0.5, num_prefix_tokens: int = 1, **kwargs):
        super().__init__(**kwargs)
        if not 0 <= prob < 1:
            raise ValueError(f"prob={prob}: expected 0 or more, and less than 1")
        self.prob = prob
        self.num_prefix_tokens = num_prefix_tokens
        self.seed_generator = keras.random.SeedGenerator()

    def call(self, x: tf.Tensor, training: bool = False) -> tf.Tensor:
        if not training or self.prob == 0:
            return x
        prefix = x[:, : self.num_prefix_tokens]
        patches = x[:, self.num_prefix_tokens :]
        batch, count = sizes(patches, 0, 1)
        order = keras.random.normal((batch, count), seed=self.seed_generator)
        keep = ops.argsort(order, axis=-1)[:, : self._num_keep(count)]
        return ops.concatenate([prefix, tf.gather(patches, keep, batch_dims=1)], axis=1)

    def _num_keep(self, count: int | tf.Tensor) -> int | tf.Tensor:
        if isinstance(count, int):
            return max(1, int(count * (1 - self.prob)))
        kept = tf.cast(count, tf.float64) * tf.constant(1 - self.prob, tf.float64)
        return tf.maximum(1, tf.cast(kept, tf.int32))  # cast: rounded down
