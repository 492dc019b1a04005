"""Transformer blocks; timm has them in `models/vision_transformer.py`."""

import keras
import tensorflow as tf

from vit_tf.layers.attention import Attention
from vit_tf.layers.diff_attention import DiffAttention
from vit_tf.layers.drop_path import DropPath
from vit_tf.layers.identity import Identity
from vit_tf.layers.layer_scale import LayerScale
from vit_tf.layers.mlp import MLPS
from vit_tf.layers.module import Module
from vit_tf.layers.norm import norm_layer
from vit_tf.layers.spec import resolve

ATTENTIONS = {"": Attention, "attn": Attention, "diff": DiffAttention}  # timm's names


class BlockBase(Module):
    """What every block is told, and the layers that it may make of it.

    In mixed precision what goes from block to block keeps the precision of the weights,
    as under torch's autocast: a branch computes in half, and is added in full.

    Args:
        num_heads: Number of attention heads.
        mlp_ratio: Width of the MLP's hidden layer, relative to the tokens'.
        qkv_bias: Whether query, key and value have a bias.
        qk_norm: Whether each head's queries and keys are normalised.
        scale_attn_norm: Whether there is a norm before the attention's projection.
        scale_mlp_norm: Whether there is one before the MLP's second projection.
        proj_bias: Whether the attention's and the MLP's projections have a bias.
        proj_drop: Dropout rate behind the projections.
        attn_drop: Dropout rate of the attention probabilities.
        init_values: What LayerScale starts from; None for no LayerScale.
        drop_path: The probability that a branch is dropped, while training.
        act_layer: timm's name of the MLP's activation.
        norm_layer: The norm, as text: "LayerNorm(eps=1e-5)".
        mlp_layer: The MLP, as text: "Mlp", "GluMlp", "SwiGLU" or "SwiGLUPacked".
        attn_layer: timm's name of the attention: "attn" or "diff".
        depth: Which block it is, from 0.

    Raises:
        ValueError: when built, if a layer is none of those that are known.
    """

    def __init__(
        self,
        num_heads: int,
        mlp_ratio: float = 4.0,
        qkv_bias: bool = False,
        qk_norm: bool = False,
        scale_attn_norm: bool = False,
        scale_mlp_norm: bool = False,
        proj_bias: bool = True,
        proj_drop: float = 0.0,
        attn_drop: float = 0.0,
        init_values: float | None = None,
        drop_path: float = 0.0,
        act_layer: str = "gelu",
        norm_layer: str = "LayerNorm",
        mlp_layer: str = "Mlp",
        attn_layer: str = "attn",
        depth: int = 0,
        **kwargs,
    ):
        super().__init__(autocast=False, **kwargs)
        self.num_heads = num_heads
        self.mlp_ratio = mlp_ratio
        self.qkv_bias = qkv_bias
        self.qk_norm = qk_norm
        self.scale_attn_norm = scale_attn_norm
        self.scale_mlp_norm = scale_mlp_norm
        self.proj_bias = proj_bias
        self.proj_drop = proj_drop
        self.attn_drop_rate = attn_drop
        self.init_values = init_values
        self.drop_path_rate = drop_path
        self.act_layer = act_layer
        self.norm_layer = norm_layer
        self.mlp_layer = mlp_layer
        self.attn_layer = attn_layer
        self.depth = depth

    def compute_output_shape(self, input_shape):
        return input_shape

    def _norm(self, name: str) -> keras.layers.Layer:
        return norm_layer(self.norm_layer)(dtype=self.variable_dtype, name=name)

    def _attention(self, name: str) -> keras.layers.Layer:
        if self.attn_layer not in ATTENTIONS:
            raise ValueError(
                f"attn_layer={self.attn_layer!r}: expected one of {list(ATTENTIONS)}"
            )
        attention = ATTENTIONS[self.attn_layer]
        depth = {"depth": self.depth} if attention is DiffAttention else {}
        return attention(
            num_heads=self.num_heads,
            qkv_bias=self.qkv_bias,
            qk_norm=self.qk_norm,
            scale_norm=self.scale_attn_norm,
            proj_bias=self.proj_bias,
            attn_drop=self.attn_drop_rate,
            proj_drop=self.proj_drop,
            norm_layer=self.norm_layer,
            dtype=self.dtype_policy,
            name=name,
            **depth,
        )

    def _mlp(self, dim: int, name: str) -> keras.layers.Layer:
        return resolve(self.mlp_layer, MLPS)(
            hidden_features=int(dim * self.mlp_ratio),
            act_layer=self.act_layer,
            norm_layer=self.norm_layer if self.scale_mlp_norm else None,
            bias=self.proj_bias,
            drop=self.proj_drop,
            dtype=self.dtype_policy,
            name=name,
        )

    def _layer_scale(self, name: str) -> keras.layers.Layer | Identity:
        if not self.init_values:
            return Identity(dtype=self.variable_dtype, name=name)
        return LayerScale(self.init_values, dtype=self.variable_dtype, name=name)

    def _drop_path(self, name: str) -> keras.layers.Layer | Identity:
        if not self.drop_path_rate:
            return Identity(dtype=self.variable_dtype, name=name)
        return DropPath(self.drop_path_rate, dtype=self.variable_dtype, name=name)


class Block(BlockBase):
    """A transformer block with pre-normalisation; timm's `Block`."""

    def build(self, input_shape):
        self.norm1 = self._norm("norm1")
        self.attn = self._attention("attn")
        self.ls1 = self._layer_scale("ls1")
        self.drop_path1 = self._drop_path("drop_path1")

        self.norm2 = self._norm("norm2")
        self.mlp = self._mlp(input_shape[-1], "mlp")
        self.ls2 = self._layer_scale("ls2")
        self.drop_path2 = self._drop_path("drop_path2")
        for layer in (
            self.norm1, self.attn, self.ls1, self.drop_path1,
            self.norm2, self.mlp, self.ls2, self.drop_path2,
        ):  # fmt: skip
            layer.build(input_shape)

    def call(self, x: tf.Tensor, training: bool = False) -> tf.Tensor:
        y = self.ls1(self.attn(self.norm1(x), training=training))
        x = x + self.drop_path1(y, training=training)
        y = self.ls2(self.mlp(self.norm2(x), training=training))
        return x + self.drop_path2(y, training=training)


class ResPostBlock(BlockBase):
    """A block that normalises what it adds; timm's `ResPostBlock`.

    As in Swin V2 (https://arxiv.org/abs/2111.09883). The norms start from
    `init_values`; there is no LayerScale.
    """

    def build(self, input_shape):
        self.attn = self._attention("attn")
        self.norm1 = self._norm("norm1")
        self.drop_path1 = self._drop_path("drop_path1")

        self.mlp = self._mlp(input_shape[-1], "mlp")
        self.norm2 = self._norm("norm2")
        self.drop_path2 = self._drop_path("drop_path2")
        for layer in (
            self.attn, self.norm1, self.drop_path1,
            self.mlp, self.norm2, self.drop_path2,
        ):  # fmt: skip
            layer.build(input_shape)

    def call(self, x: tf.Tensor, training: bool = False) -> tf.Tensor:
        y = self.norm1(self.attn(x, training=training))
        x = x + self.drop_path1(y, training=training)
        y = self.norm2(self.mlp(x, training=training))
        return x + self.drop_path2(y, training=training)

    def _norm(self, name: str) -> keras.layers.Layer:
        start = 1.0 if self.init_values is None else self.init_values
        norm = norm_layer(self.norm_layer)
        return norm(weight_init=start, dtype=self.variable_dtype, name=name)
