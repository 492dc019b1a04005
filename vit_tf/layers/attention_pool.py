"""Pooling by attention; timm's `layers/attention_pool.py`."""

import keras
import tensorflow as tf
from keras import ops

from vit_tf.layers.activations import softmax
from vit_tf.layers.attention import check_heads
from vit_tf.layers.initializers import CutNormal, Normal
from vit_tf.layers.mlp import Mlp
from vit_tf.layers.module import Module
from vit_tf.layers.norm import norm_layer
from vit_tf.layers.sizes import size, sizes


class AttentionPoolLatent(Module):
    """A learned query attends to all tokens (https://arxiv.org/abs/2106.04560).

    Tokens (B, N, C) become one vector an image, (B, C).

    Args:
        num_heads: Number of heads.
        mlp_ratio: Width of the MLP's hidden layer, relative to the tokens'.
        norm_layer: The norm before the MLP, as text.
        act_layer: timm's name of the MLP's activation.

    Raises:
        ValueError: when built, if the width is not a multiple of `num_heads`.
    """

    def __init__(
        self,
        num_heads: int = 8,
        mlp_ratio: float = 4.0,
        norm_layer: str = "LayerNorm",
        act_layer: str = "gelu",
        **kwargs,
    ):
        super().__init__(**kwargs)
        self.num_heads = num_heads
        self.mlp_ratio = mlp_ratio
        self.norm_layer = norm_layer
        self.act_layer = act_layer

    def build(self, input_shape):
        dim, dtype = input_shape[-1], self.dtype_policy
        check_heads(dim, self.num_heads)
        self.dim = dim
        self.scale = (dim // self.num_heads) ** -0.5
        self.latent = self.add_weight(
            name="latent", shape=(1, 1, dim), initializer=CutNormal(stddev=dim**-0.5)
        )
        self.q = self._dense(dim, "q")
        self.kv = self._dense(2 * dim, "kv")
        self.proj = self._dense(dim, "proj")
        self.proj_drop = keras.layers.Dropout(
            0.0, dtype=self.variable_dtype, name="proj_drop"
        )
        self.norm = norm_layer(self.norm_layer)(dtype=self.variable_dtype, name="norm")
        self.mlp = Mlp(
            hidden_features=int(dim * self.mlp_ratio),
            act_layer=self.act_layer,
            dtype=dtype,
            name="mlp",
        )
        self.kv.build((None, dim))
        for layer in (self.q, self.proj, self.proj_drop, self.norm, self.mlp):
            layer.build((None, 1, dim))

    def call(self, x: tf.Tensor) -> tf.Tensor:
        B, N, C = *sizes(x, 0, 1), self.dim
        H, D = self.num_heads, C // self.num_heads
        latent = ops.broadcast_to(self.latent, (B, 1, C))
        q = tf.reshape(self.q(latent), (-1, H, 1, D))  # one query: no axis to move
        kv = self.kv(tf.reshape(x, (-1, C)))  # (B*N, 2C)
        kv = tf.reshape(kv, (-1, N, 2, H, D))
        k, v = tf.unstack(tf.transpose(kv, (2, 0, 3, 1, 4)))  # each (B, H, N, D)
        attn = tf.matmul(q * self.scale, k, transpose_b=True)  # (B, H, 1, N)
        x = tf.matmul(softmax(attn), v)  # (B, H, 1, D)
        x = self.proj_drop(self.proj(tf.reshape(x, (-1, 1, C))))
        x = x + ops.cast(self.mlp(self.norm(x)), x.dtype)
        return x[:, 0]

    def compute_output_shape(self, input_shape):
        return (input_shape[0], input_shape[-1])

    def _dense(self, units: int, name: str) -> keras.layers.Dense:
        return keras.layers.Dense(
            units, kernel_initializer=Normal(), dtype=self.dtype_policy, name=name
        )


class AttentionPoolPrr(Module):
    """Tokens attend to each other, without parameters, before they are pooled.

    Patch Representation Refinement, of the Locality-Attending Vision Transformer.
    Tokens (B, N, C) become one vector an image, (B, C).

    Args:
        num_heads: Number of heads.
        pool_type: "token", the first one, or "avg", the mean of all.

    Raises:
        ValueError: when built, if the width is not a multiple of `num_heads`.
    """

    def __init__(self, num_heads: int = 8, pool_type: str = "token", **kwargs):
        super().__init__(**kwargs)
        self.num_heads = num_heads
        self.pool_type = pool_type

    def build(self, input_shape):
        check_heads(input_shape[-1], self.num_heads)
        self.dim = input_shape[-1]
        self.scale = (self.dim // self.num_heads) ** -0.5

    def call(self, x: tf.Tensor) -> tf.Tensor:
        N, C, H = size(x, 1), self.dim, self.num_heads
        heads = tf.transpose(tf.reshape(x, (-1, N, H, C // H)), (0, 2, 1, 3))
        attn = tf.matmul(heads * self.scale, heads, transpose_b=True)  # (B, H, N, N)
        x = tf.matmul(softmax(attn), heads)  # (B, H, N, C/H)
        x = tf.reshape(tf.transpose(x, (0, 2, 1, 3)), (-1, N, C))
        return x[:, 0] if self.pool_type == "token" else ops.mean(x, axis=1)

    def compute_output_shape(self, input_shape):
        return (input_shape[0], input_shape[-1])
