"""Self-attention whose heads talk to each other."""

import keras
import tensorflow as tf

from vit_tf.layers.activations import softmax
from vit_tf.layers.attention import check_heads
from vit_tf.layers.head_linear import HeadLinear
from vit_tf.layers.initializers import Normal
from vit_tf.layers.module import Module
from vit_tf.layers.sizes import size


class TalkingHeadAttn(Module):
    """https://arxiv.org/abs/2003.02436; timm's class in `models/cait.py`.

    `proj_l` mixes the heads' logits before the softmax, and `proj_w` their
    probabilities after it, which then no longer sum to one. Inside, heads are the
    first axis, before the images: see `HeadLinear`.

    Args:
        num_heads: Number of heads; the width must be a multiple of it.
        qkv_bias: Whether query, key and value have a bias.
        attn_drop: Dropout rate of the mixed probabilities.
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
        self.qkv = keras.layers.Dense(
            3 * dim, use_bias=self.qkv_bias, kernel_initializer=Normal(), dtype=dtype,
            name="qkv",
        )  # fmt: skip
        self.proj_l = HeadLinear(dtype=dtype, name="proj_l")
        self.proj_w = HeadLinear(dtype=dtype, name="proj_w")
        self.attn_drop = keras.layers.Dropout(
            self.attn_drop_rate, dtype=dtype, name="attn_drop"
        )
        self.proj = keras.layers.Dense(
            dim, kernel_initializer=Normal(), dtype=dtype, name="proj"
        )
        self.proj_drop = keras.layers.Dropout(
            self.proj_drop_rate, dtype=dtype, name="proj_drop"
        )
        self.qkv.build((None, dim))
        for layer in (self.proj_l, self.proj_w, self.attn_drop):
            layer.build((self.num_heads, None, None, None))
        for layer in (self.proj, self.proj_drop):
            layer.build((None, dim))

    def call(self, x: tf.Tensor, training: bool = False) -> tf.Tensor:
        N, C = size(x, 1), self.dim
        H, D = self.num_heads, C // self.num_heads
        qkv = self.qkv(tf.reshape(x, (-1, C)))  # (B, N, C) -> (B*N, 3C)
        qkv = tf.reshape(qkv, (-1, N, 3, H, D))
        q, k, v = tf.unstack(tf.transpose(qkv, (2, 3, 0, 1, 4)))  # each (H, B, N, D)
        attn = tf.matmul(q * self.scale, k, transpose_b=True)  # (H, B, N, N)
        attn = self.proj_w(softmax(self.proj_l(attn)))
        attn = self.attn_drop(attn, training=training)
        x = tf.transpose(tf.matmul(attn, v), (1, 2, 0, 3))  # (B, N, H, D)
        x = self.proj(tf.reshape(x, (-1, C)))  # (B*N, C)
        x = self.proj_drop(x, training=training)
        return tf.reshape(x, (-1, N, C))

    def with_timm_axes(self, name: str, output: tf.Tensor, x: tf.Tensor) -> tf.Tensor:
        if name in ("proj_l", "proj_w"):
            return tf.transpose(output, (1, 2, 3, 0))  # (H, B, N, N) -> (B, N, N, H)
        if name == "attn_drop":
            return tf.transpose(output, (1, 0, 2, 3))  # -> (B, H, N, N)
        return super().with_timm_axes(name, output, x)

    def compute_output_shape(self, input_shape):
        return input_shape
