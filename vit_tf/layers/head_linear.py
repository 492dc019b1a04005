"""A linear map between attention heads."""

import keras
import tensorflow as tf

from vit_tf.layers.initializers import Normal
from vit_tf.layers.sizes import sizes


class HeadLinear(keras.layers.Layer):
    """What timm writes as `nn.Linear(num_heads, num_heads)` on permuted axes.

    Heads are the first axis, (H, ...), so that one product with a small matrix mixes
    them, and nothing moves: on a CPU much faster than timm's order.
    """

    def build(self, input_shape):
        num_heads = input_shape[0]
        self.weight = self.add_weight(
            name="weight", shape=(num_heads, num_heads), initializer=Normal()
        )
        self.bias = self.add_weight(
            name="bias", shape=(num_heads,), initializer="zeros"
        )

    def call(self, x: tf.Tensor) -> tf.Tensor:
        rows = tf.reshape(x, (x.shape[0], -1))  # (H, ...) -> (H, everything else)
        mixed = tf.reshape(tf.matmul(self.weight, rows), sizes(x))
        # in this order no converter fuses a bias along rows, which TF.js refuses
        return mixed + tf.reshape(self.bias, (-1, *(1 for _ in x.shape[1:])))

    def compute_output_shape(self, input_shape):
        return input_shape
