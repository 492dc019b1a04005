"""The feed-forward part of a transformer block."""

import keras
import tensorflow as tf
from keras import ops

from vit_tf.layers.activations import gelu
from vit_tf.layers.initializers import Normal
from vit_tf.layers.module import Module


class Mlp(Module):
    """Two projections with a GELU between them; timm's `layers/mlp.py`.

    Inside, tokens are the rows of a matrix, (B*N, C): only there does TensorFlow join
    the product, the bias and the activation in one operation.

    Args:
        hidden_features: Width between the two.
        bias: Whether the projections have one.
        drop: Dropout rate behind each.
    """

    def __init__(
        self, hidden_features: int, bias: bool = True, drop: float = 0.0, **kwargs
    ):
        super().__init__(**kwargs)
        self.hidden_features = hidden_features
        self.bias = bias
        self.drop = drop

    def build(self, input_shape):
        self.dim, dtype = input_shape[-1], self.dtype_policy
        self.fc1 = keras.layers.Dense(
            self.hidden_features, use_bias=self.bias, kernel_initializer=Normal(),
            dtype=dtype, name="fc1",
        )  # fmt: skip
        self.act = keras.layers.Activation(gelu, dtype=dtype, name="act")
        self.drop1 = keras.layers.Dropout(self.drop, dtype=dtype, name="drop1")
        self.fc2 = keras.layers.Dense(
            self.dim, use_bias=self.bias, kernel_initializer=Normal(), dtype=dtype,
            name="fc2",
        )  # fmt: skip
        self.drop2 = keras.layers.Dropout(self.drop, dtype=dtype, name="drop2")
        self.fc1.build((None, self.dim))
        for layer in (self.act, self.drop1, self.fc2):
            layer.build((None, self.hidden_features))
        self.drop2.build((None, self.dim))

    def call(self, x: tf.Tensor, training: bool = False) -> tf.Tensor:
        N = ops.shape(x)[1]
        x = ops.reshape(x, (-1, self.dim))  # (B, N, C) -> (B*N, C)
        x = self.act(self.fc1(x))  # (B*N, hidden)
        x = self.drop1(x, training=training)
        x = self.fc2(x)  # (B*N, C)
        x = self.drop2(x, training=training)
        return ops.reshape(x, (-1, N, self.dim))

    def compute_output_shape(self, input_shape):
        return input_shape
