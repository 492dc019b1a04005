"""Differential attention: one attention map subtracted from another."""

import math

import keras
import tensorflow as tf
from keras import ops

from vit_tf.layers.activations import softmax
from vit_tf.layers.attention import Attention
from vit_tf.layers.norm import RmsNorm

SUB_NORM_EPS = 1e-5  # whatever the model's own norm has


class DiffAttention(Attention):
    """https://arxiv.org/abs/2410.05258; timm's `layers/diff_attention.py`.

    Queries and keys have twice as many heads of half the width; each pair's second map
    is subtracted from its first, times a learned lambda.

    Args:
        depth: Which block it is in, from 0: lambda starts smaller in early blocks.
        **kwargs: Those of `Attention`.
    """

    def __init__(self, depth: int = 0, **kwargs):
        super().__init__(**kwargs)
        self.lambda_init = lambda_init(depth)

    def build(self, input_shape):
        super().build(input_shape)
        add_lambda_weights(self, self.head_dim)
        self.sub_norm = RmsNorm(
            eps=SUB_NORM_EPS, dtype=self.variable_dtype, name="sub_norm"
        )
        self.sub_norm.build((None, None, None, 2 * self.head_dim))

    def _head_dim(self) -> int:
        return half_head_dim(self.dim, self.num_heads)

    def _attend(self, qkv: tf.Tensor, N: int | tf.Tensor, training: bool) -> tf.Tensor:
        return attend_differentially(self, tf.split(qkv, 3, axis=-1), N, training)


def half_head_dim(dim: int, num_heads: int) -> int:
    """The width of a query's or key's head, of which there are two for each of values.

    Raises:
        ValueError: if a width of `dim` does not divide into as many.
    """
    if dim % (2 * num_heads):
        raise ValueError(
            f"a width of {dim} does not divide into {2 * num_heads} heads: "
            f"differential attention has two for each of {num_heads}"
        )
    return dim // num_heads // 2


def lambda_init(depth: int) -> float:
    """Where lambda starts in the block of that index (equation 2 and section 3.1)."""
    return 0.8 - 0.6 * math.exp(-0.3 * depth)


def add_lambda_weights(layer: keras.layers.Layer, head_dim: int) -> None:
    """The four vectors from which `layer` computes its lambda."""
    for name in ("lambda_q1", "lambda_k1", "lambda_q2", "lambda_k2"):
        initializer = keras.initializers.RandomNormal(stddev=0.1)
        weight = layer.add_weight(
            name=name, shape=(head_dim,), initializer=initializer, autocast=False
        )
        setattr(layer, name, weight)


def attend_differentially(
    layer: keras.layers.Layer,
    qkv: list[tf.Tensor],
    N: int | tf.Tensor,
    training: bool,
) -> tf.Tensor:
    """What `DiffAttention` and the block that has it inside compute alike.

    Args:
        layer: Has `num_heads`, `head_dim`, `scale`, `lambda_init`, the lambda's
            weights, and the layers q_norm, k_norm, attn_drop and sub_norm.
        qkv: Queries, keys and values, each (B*N, C).
        N: Number of tokens.
        training: Whether probabilities drop out.

    Returns:
        (B, N, H, C/H).
    """
    H, D = layer.num_heads, layer.head_dim
    q, k = (
        tf.transpose(tf.reshape(rows, (-1, N, 2 * H, D)), (0, 2, 1, 3))
        for rows in qkv[:2]
    )  # each (B, 2H, N, D)
    v = tf.transpose(tf.reshape(qkv[2], (-1, N, H, 2 * D)), (0, 2, 1, 3))
    q, k = layer.q_norm(q), layer.k_norm(k)
    attn = tf.matmul(q * layer.scale, k, transpose_b=True)  # (B, 2H, N, N)
    attn = layer.attn_drop(softmax(attn), training=training)
    attn = tf.reshape(attn, (-1, H, 2, N, N))
    attn = attn[:, :, 0] - _lambda(layer, attn.dtype) * attn[:, :, 1]  # (B, H, N, N)
    x = layer.sub_norm(tf.matmul(attn, v)) * (1 - layer.lambda_init)
    return tf.transpose(x, (0, 2, 1, 3))


def _lambda(layer: keras.layers.Layer, dtype: str) -> tf.Tensor:
    """A scalar, computed in float32 at least, as timm does."""
    wide = keras.backend.result_type(dtype, "float32")
    q1, k1, q2, k2 = (
        ops.cast(weight, wide)
        for weight in (
            layer.lambda_q1, layer.lambda_k1, layer.lambda_q2, layer.lambda_k2
        )
    )  # fmt: skip
    lambda_1, lambda_2 = ops.exp(ops.sum(q1 * k1)), ops.exp(ops.sum(q2 * k2))
    return ops.cast(lambda_1 - lambda_2 + layer.lambda_init, dtype)
