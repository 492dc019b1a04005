"""Multi-head self-attention."""

import keras
import tensorflow as tf
from keras import ops

from vit_tf.layers.initializers import Normal
from vit_tf.layers.module import Module


class Attention(Module):
    """https://arxiv.org/abs/1706.03762; timm's `layers/attention.py`.

    Inside, tokens are the rows of a matrix, (B*N, C): TensorFlow joins a product of
    two matrices and its bias in one operation, which it does not for three axes.

    Args:
        num_heads: Number of heads; the width must be a multiple of it.
        qkv_bias: Whether query, key and value have a bias.
        proj_bias: Whether the output projection has one.
        attn_drop: Dropout rate of the attention probabilities.
        proj_drop: Dropout rate of the output.

    Raises:
        ValueError: when built, if the width is not a multiple of `num_heads`.
    """

    def __init__(
        self,
        num_heads: int = 8,
        qkv_bias: bool = False,
        proj_bias: bool = True,
        attn_drop: float = 0.0,
        proj_drop: float = 0.0,
        **kwargs,
    ):
        super().__init__(**kwargs)
        self.num_heads = num_heads
        self.qkv_bias = qkv_bias
        self.proj_bias = proj_bias
        self.attn_drop_rate = attn_drop
        self.proj_drop_rate = proj_drop

    def build(self, input_shape):
        dim, dtype = input_shape[-1], self.dtype_policy
        if self.num_heads < 1 or dim % self.num_heads:
            raise ValueError(
                f"a width of {dim} does not divide into {self.num_heads} heads"
            )
        self.dim = dim
        self.scale = (dim // self.num_heads) ** -0.5
        self.qkv = keras.layers.Dense(
            3 * dim, use_bias=self.qkv_bias, kernel_initializer=Normal(), dtype=dtype,
            name="qkv",
        )  # fmt: skip
        self.attn_drop = keras.layers.Dropout(
            self.attn_drop_rate, dtype=dtype, name="attn_drop"
        )
        self.proj = keras.layers.Dense(
            dim, use_bias=self.proj_bias, kernel_initializer=Normal(), dtype=dtype,
            name="proj",
        )  # fmt: skip
        self.proj_drop = keras.layers.Dropout(
            self.proj_drop_rate, dtype=dtype, name="proj_drop"
        )
        self.qkv.build((None, dim))
        self.attn_drop.build((None, self.num_heads, None, None))
        self.proj.build((None, dim))
        self.proj_drop.build((None, dim))

    def call(self, x: tf.Tensor, training: bool = False) -> tf.Tensor:
        N, C = ops.shape(x)[1], self.dim
        H, D = self.num_heads, C // self.num_heads
        qkv = self.qkv(ops.reshape(x, (-1, C)))  # (B, N, C) -> (B*N, 3C)
        qkv = ops.reshape(qkv, (-1, N, 3, H, D))
        q, k, v = ops.unstack(ops.transpose(qkv, (2, 0, 3, 1, 4)))  # each (B, H, N, D)
        attn = tf.matmul(q * self.scale, k, transpose_b=True)  # (B, H, N, N)
        attn = self.attn_drop(ops.softmax(attn), training=training)
        x = ops.transpose(tf.matmul(attn, v), (0, 2, 1, 3))  # (B, N, H, D)
        x = self.proj(ops.reshape(x, (-1, C)))  # (B*N, C)
        x = self.proj_drop(x, training=training)
        return ops.reshape(x, (-1, N, C))

    def compute_output_shape(self, input_shape):
        return input_shape
