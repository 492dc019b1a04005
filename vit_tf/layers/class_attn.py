"""Attention of the class token to all tokens."""

import keras
import tensorflow as tf

from vit_tf.layers.activations import softmax
from vit_tf.layers.attention import check_heads
from vit_tf.layers.initializers import Normal
from vit_tf.layers.module import Module
from vit_tf.layers.sizes import size


class ClassAttn(Module):
    """https://arxiv.org/abs/2103.17239; timm's class in `models/cait.py`.

    Called with tokens (B, N, C), of which the first is the class token, it returns
    that token's new value, (B, 1, C).

    Args:
        num_heads: Number of heads; the width must be a multiple of it.
        qkv_bias: Whether query, key and value have a bias.
        attn_drop: Dropout rate of the attention probabilities.
        proj_drop: Dropout rate of the output.

    Raises:
        ValueError: when built, if the width is not a multiple of `num_heads`.
    """

    def __init__(
        self,
        num_heads: int = 8,
        qkv_bias: bool = False,
        attn_drop: float = 0.0,
        proj_drop: float = 0.0,
        **kwargs,
    ):
        super().__init__(**kwargs)
        self.num_heads = num_heads
        self.qkv_bias = qkv_bias
        self.attn_drop_rate = attn_drop
        self.proj_drop_rate = proj_drop

    def build(self, input_shape):
        dim, dtype = input_shape[-1], self.dtype_policy
        check_heads(dim, self.num_heads)
        self.dim = dim
        self.scale = (dim // self.num_heads) ** -0.5
        self.q = self._dense("q", self.qkv_bias)
        self.k = self._dense("k", self.qkv_bias)
        self.v = self._dense("v", self.qkv_bias)
        self.attn_drop = keras.layers.Dropout(
            self.attn_drop_rate, dtype=dtype, name="attn_drop"
        )
        self.proj = self._dense("proj", True)
        self.proj_drop = keras.layers.Dropout(
            self.proj_drop_rate, dtype=dtype, name="proj_drop"
        )
        self.attn_drop.build((None, self.num_heads, 1, None))
        for layer in (self.q, self.k, self.v, self.proj, self.proj_drop):
            layer.build((None, dim))

    def call(self, x: tf.Tensor, training: bool = False) -> tf.Tensor:
        N, C = size(x, 1), self.dim
        H, D = self.num_heads, C // self.num_heads
        rows = tf.reshape(x, (-1, C))  # (B, N, C) -> (B*N, C)
        q = tf.reshape(self.q(x[:, 0]), (-1, H, 1, D))
        k = tf.transpose(tf.reshape(self.k(rows), (-1, N, H, D)), (0, 2, 1, 3))
        v = tf.transpose(tf.reshape(self.v(rows), (-1, N, H, D)), (0, 2, 1, 3))
        attn = tf.matmul(q * self.scale, k, transpose_b=True)  # (B, H, 1, N)
        attn = self.attn_drop(softmax(attn), training=training)
        x_cls = tf.reshape(tf.matmul(attn, v), (-1, C))  # (B, H, 1, D) -> (B, C)
        x_cls = self.proj(x_cls)
        x_cls = self.proj_drop(x_cls, training=training)
        return x_cls[:, None]  # (B, 1, C)

    def with_timm_axes(self, name: str, output: tf.Tensor, x: tf.Tensor) -> tf.Tensor:
        if name == "q":
            return output  # (B, C), also in timm
        if name in ("proj", "proj_drop"):
            return output[:, None]  # (B, C) -> (B, 1, C)
        return super().with_timm_axes(name, output, x)

    def compute_output_shape(self, input_shape):
        return (input_shape[0], 1, input_shape[2])

    def _dense(self, name: str, use_bias: bool) -> keras.layers.Dense:
        return keras.layers.Dense(
            self.dim, use_bias=use_bias, kernel_initializer=Normal(),
            dtype=self.dtype_policy, name=name,
        )  # fmt: skip
