"""Multi-head self-attention."""

import keras
import tensorflow as tf

from vit_tf.layers.activations import softmax
from vit_tf.layers.identity import Identity
from vit_tf.layers.initializers import Normal
from vit_tf.layers.module import Module
from vit_tf.layers.norm import norm_layer
from vit_tf.layers.sizes import size


class Attention(Module):
    """https://arxiv.org/abs/1706.03762; timm's `layers/attention.py`.

    Inside, tokens are the rows of a matrix, (B*N, C): TensorFlow joins a product of
    two matrices and its bias in one operation, which it does not for three axes.

    Args:
        num_heads: Number of heads; the width must be a multiple of it.
        qkv_bias: Whether query, key and value have a bias.
        qk_norm: Whether each head's queries and keys are normalised.
        scale_norm: Whether there is a norm before the output projection.
        proj_bias: Whether the output projection has a bias.
        attn_drop: Dropout rate of the attention probabilities.
        proj_drop: Dropout rate of the output.
        norm_layer: The norm that those two use, as text.

    Raises:
        ValueError: when built, if the width is not a multiple of `num_heads`.
    """

    def __init__(
        self,
        num_heads: int = 8,
        qkv_bias: bool = False,
        qk_norm: bool = False,
        scale_norm: bool = False,
        proj_bias: bool = True,
        attn_drop: float = 0.0,
        proj_drop: float = 0.0,
        norm_layer: str = "LayerNorm",
        **kwargs,
    ):
        super().__init__(**kwargs)
        self.num_heads = num_heads
        self.qkv_bias = qkv_bias
        self.qk_norm = qk_norm
        self.scale_norm = scale_norm
        self.proj_bias = proj_bias
        self.attn_drop_rate = attn_drop
        self.proj_drop_rate = proj_drop
        self.norm_layer = norm_layer

    def build(self, input_shape):
        dim, dtype = input_shape[-1], self.dtype_policy
        check_heads(dim, self.num_heads)
        self.dim = dim
        self.head_dim = self._head_dim()
        self.scale = self.head_dim**-0.5
        self.qkv = keras.layers.Dense(
            3 * dim, use_bias=self.qkv_bias, kernel_initializer=Normal(), dtype=dtype,
            name="qkv",
        )  # fmt: skip
        self.q_norm = self._norm("q_norm", self.qk_norm)
        self.k_norm = self._norm("k_norm", self.qk_norm)
        self.attn_drop = keras.layers.Dropout(
            self.attn_drop_rate, dtype=dtype, name="attn_drop"
        )
        self.norm = self._norm("norm", self.scale_norm)
        self.proj = keras.layers.Dense(
            dim, use_bias=self.proj_bias, kernel_initializer=Normal(), dtype=dtype,
            name="proj",
        )  # fmt: skip
        self.proj_drop = keras.layers.Dropout(
            self.proj_drop_rate, dtype=dtype, name="proj_drop"
        )
        self.qkv.build((None, dim))
        for layer in (self.q_norm, self.k_norm):
            layer.build((None, None, None, self.head_dim))
        self.attn_drop.build((None, None, None, None))
        for layer in (self.norm, self.proj, self.proj_drop):
            layer.build((None, dim))

    def call(self, x: tf.Tensor, training: bool = False) -> tf.Tensor:
        N, C = size(x, 1), self.dim
        qkv = self.qkv(tf.reshape(x, (-1, C)))  # (B, N, C) -> (B*N, 3C)
        x = self._attend(qkv, N, training)  # (B, N, C), heads side by side
        x = self.norm(tf.reshape(x, (-1, C)))
        x = self.proj(x)  # (B*N, C)
        x = self.proj_drop(x, training=training)
        return tf.reshape(x, (-1, N, C))

    def compute_output_shape(self, input_shape):
        return input_shape

    def _head_dim(self) -> int:
        return self.dim // self.num_heads

    def _attend(self, qkv: tf.Tensor, N: int | tf.Tensor, training: bool) -> tf.Tensor:
        qkv = tf.reshape(qkv, (-1, N, 3, self.num_heads, self.head_dim))
        q, k, v = tf.unstack(tf.transpose(qkv, (2, 0, 3, 1, 4)))  # each (B, H, N, D)
        q, k = self.q_norm(q), self.k_norm(k)
        attn = tf.matmul(q * self.scale, k, transpose_b=True)  # (B, H, N, N)
        attn = self.attn_drop(softmax(attn), training=training)
        return tf.transpose(tf.matmul(attn, v), (0, 2, 1, 3))  # (B, N, H, D)

    def _norm(self, name: str, present: bool) -> keras.layers.Layer | Identity:
        if not present:
            return Identity(dtype=self.dtype_policy, name=name)
        return norm_layer(self.norm_layer)(dtype=self.dtype_policy, name=name)


def check_heads(dim: int, num_heads: int) -> None:
    """
    Raises:
        ValueError: if a width of `dim` does not divide into `num_heads` heads.
    """
    if num_heads < 1 or dim % num_heads:
        raise ValueError(f"a width of {dim} does not divide into {num_heads} heads")
