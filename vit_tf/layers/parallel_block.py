"""Blocks whose branches run side by side; timm's `models/vision_transformer.py`."""

import keras
import tensorflow as tf
from keras import ops

from vit_tf.layers.activations import act_layer, softmax
from vit_tf.layers.attention import check_heads
from vit_tf.layers.block import BlockBase
from vit_tf.layers.diff_attention import (
    SUB_NORM_EPS,
    add_lambda_weights,
    attend_differentially,
    half_head_dim,
    lambda_init,
)
from vit_tf.layers.identity import Identity
from vit_tf.layers.initializers import Normal
from vit_tf.layers.layer_scale import LayerScale
from vit_tf.layers.norm import RmsNorm, norm_layer
from vit_tf.layers.sizes import size


class ParallelScalingBlock(BlockBase):
    """Attention and MLP side by side, their first projections being one.

    "Scaling Vision Transformers to 22 Billion Parameters"
    (https://arxiv.org/abs/2302.05442).

    Args:
        **kwargs: Those of `Block`; `mlp_layer` and `attn_layer` are not used.

    Raises:
        ValueError: if a norm before the projections is asked for: it has none.
    """

    def __init__(self, num_heads: int, **kwargs):
        super().__init__(num_heads, **kwargs)
        if self.scale_attn_norm or self.scale_mlp_norm:
            raise ValueError(
                f"{type(self).__name__} has no norms before its projections: expected "
                "scale_attn_norm=False and scale_mlp_norm=False"
            )

    def build(self, input_shape):
        self.dim, dtype = input_shape[-1], self.dtype_policy
        check_heads(self.dim, self.num_heads)
        self.head_dim = self._head_dim()
        self.scale = self.head_dim**-0.5
        self.hidden_features = int(self.mlp_ratio * self.dim)

        self.in_norm = self._norm("in_norm")
        self.in_proj = self._dense(
            self.hidden_features + 3 * self.dim, "in_proj", self.qkv_bias
        )
        if not self.qkv_bias:  # else it is a part of in_proj's
            self.mlp_bias = self.add_weight(
                name="mlp_bias", shape=(self.hidden_features,), initializer="zeros"
            )
        self.q_norm = self._head_norm("q_norm")
        self.k_norm = self._head_norm("k_norm")
        self.attn_drop = keras.layers.Dropout(
            self.attn_drop_rate, dtype=dtype, name="attn_drop"
        )
        self.mlp_drop = keras.layers.Dropout(
            self.proj_drop, dtype=dtype, name="mlp_drop"
        )
        self.mlp_act = act_layer(self.act_layer, dtype, name="mlp_act")
        self._build_out_proj()
        self.ls = self._layer_scale("ls")
        self.drop_path = self._drop_path("drop_path")

        for layer in (self.in_norm, self.in_proj, self.ls, self.drop_path):
            layer.build(input_shape)
        for layer in (self.q_norm, self.k_norm):
            layer.build((None, None, None, self.head_dim))
        self.attn_drop.build((None, None, None, None))
        for layer in (self.mlp_drop, self.mlp_act):
            layer.build((None, self.hidden_features))

    def call(self, x: tf.Tensor, training: bool = False) -> tf.Tensor:
        N, C = size(x, 1), self.dim
        y = self.in_proj(tf.reshape(self.in_norm(x), (-1, C)))  # (B*N, hidden + 3C)
        x_mlp, *qkv = tf.split(y, [self.hidden_features, C, C, C], axis=-1)
        if not self.qkv_bias:
            x_mlp = x_mlp + ops.cast(self.mlp_bias, x_mlp.dtype)
        x_attn = self._attend(qkv, N, training)  # (B, N, C), heads side by side
        x_mlp = self.mlp_drop(self.mlp_act(x_mlp), training=training)
        y = self._out(tf.reshape(x_attn, (-1, C)), x_mlp)  # (B*N, C)
        y = self.ls(tf.reshape(y, (-1, N, C)))
        return x + self.drop_path(y, training=training)

    def _attend(
        self,
        qkv: list[tf.Tensor],
        N: int | tf.Tensor,
        training: bool,
    ) -> tf.Tensor:
        heads = (-1, N, self.num_heads, self.head_dim)
        q, k, v = (tf.reshape(rows, heads) for rows in qkv)
        q, k, v = (
            tf.transpose(tokens, (0, 2, 1, 3))
            for tokens in (self.q_norm(q), self.k_norm(k), v)
        )  # each (B, H, N, D)
        attn = tf.matmul(q * self.scale, k, transpose_b=True)  # (B, H, N, N)
        attn = self.attn_drop(softmax(attn), training=training)
        return tf.transpose(tf.matmul(attn, v), (0, 2, 1, 3))  # (B, N, H, D)

    def _build_out_proj(self) -> None:
        self.attn_out_proj = self._dense(self.dim, "attn_out_proj", self.proj_bias)
        self.mlp_out_proj = self._dense(self.dim, "mlp_out_proj", self.proj_bias)
        self.attn_out_proj.build((None, self.dim))
        self.mlp_out_proj.build((None, self.hidden_features))

    def _out(self, x_attn: tf.Tensor, x_mlp: tf.Tensor) -> tf.Tensor:
        return self.attn_out_proj(x_attn) + self.mlp_out_proj(x_mlp)

    def _head_dim(self) -> int:
        return self.dim // self.num_heads

    def _head_norm(self, name: str) -> keras.layers.Layer | Identity:
        if not self.qk_norm:
            return Identity(dtype=self.dtype_policy, name=name)
        return norm_layer(self.norm_layer)(dtype=self.dtype_policy, name=name)

    def _layer_scale(self, name: str) -> keras.layers.Layer | Identity:
        if self.init_values is None:  # timm's `Block` leaves it out for 0.0 as well
            return Identity(dtype=self.variable_dtype, name=name)
        return LayerScale(self.init_values, dtype=self.variable_dtype, name=name)

    def _dense(self, units: int, name: str, use_bias: bool) -> keras.layers.Dense:
        return keras.layers.Dense(
            units, use_bias=use_bias, kernel_initializer=Normal(),
            dtype=self.dtype_policy, name=name,
        )  # fmt: skip


class DiffParallelScalingBlock(ParallelScalingBlock):
    """`ParallelScalingBlock` with the attention of `DiffAttention`."""

    def build(self, input_shape):
        super().build(input_shape)
        self.lambda_init = lambda_init(self.depth)
        add_lambda_weights(self, self.head_dim)
        self.sub_norm = RmsNorm(
            eps=SUB_NORM_EPS, dtype=self.variable_dtype, name="sub_norm"
        )
        self.sub_norm.build((None, None, None, 2 * self.head_dim))

    def _attend(
        self,
        qkv: list[tf.Tensor],
        N: int | tf.Tensor,
        training: bool,
    ) -> tf.Tensor:
        return attend_differentially(self, qkv, N, training)

    def _build_out_proj(self) -> None:
        self.out_proj = self._dense(self.dim, "out_proj", self.proj_bias)
        self.out_proj.build((None, self.dim + self.hidden_features))

    def _out(self, x_attn: tf.Tensor, x_mlp: tf.Tensor) -> tf.Tensor:
        return self.out_proj(ops.concatenate([x_attn, x_mlp], axis=-1))

    def _head_dim(self) -> int:
        return half_head_dim(self.dim, self.num_heads)


class ParallelThingsBlock(BlockBase):
    """Attentions side by side, then MLPs side by side.

    "Three things everyone should know about Vision Transformers"
    (https://arxiv.org/abs/2203.09795).

    Args:
        num_parallel: How many of each.
        **kwargs: Those of `Block`.
    """

    def __init__(self, num_heads: int, num_parallel: int = 2, **kwargs):
        super().__init__(num_heads, **kwargs)
        self.num_parallel = num_parallel

    def build(self, input_shape):
        self.attns = [self._attn_branch(i) for i in range(self.num_parallel)]
        self.ffns = [
            self._ffn_branch(i, input_shape[-1]) for i in range(self.num_parallel)
        ]
        for branch in (*self.attns, *self.ffns):
            for layer in branch:
                layer.build(input_shape)

    def call(self, x: tf.Tensor, training: bool = False) -> tf.Tensor:
        x = tf.add_n([x, *(_run(branch, x, training) for branch in self.attns)])
        return tf.add_n([x, *(_run(branch, x, training) for branch in self.ffns)])

    def _attn_branch(self, i: int) -> list[keras.layers.Layer]:
        return [
            self._norm(f"attns.{i}.norm"),
            self._attention(f"attns.{i}.attn"),
            self._layer_scale(f"attns.{i}.ls"),
            self._drop_path(f"attns.{i}.drop_path"),
        ]

    def _ffn_branch(self, i: int, dim: int) -> list[keras.layers.Layer]:
        return [
            self._norm(f"ffns.{i}.norm"),
            self._mlp(dim, f"ffns.{i}.mlp"),
            self._layer_scale(f"ffns.{i}.ls"),
            self._drop_path(f"ffns.{i}.drop_path"),
        ]


def _run(branch: list[keras.layers.Layer], x: tf.Tensor, training: bool) -> tf.Tensor:
    norm, branch_layer, layer_scale, drop_path = branch
    x = layer_scale(branch_layer(norm(x), training=training))
    return drop_path(x, training=training)
