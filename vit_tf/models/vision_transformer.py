"""The Vision Transformer (https://arxiv.org/abs/2010.11929), after timm's module."""

import inspect

import keras
import tensorflow as tf
from keras import ops

from vit_tf.layers.attention import Attention
from vit_tf.layers.drop_path import DropPath, drop_path_rates
from vit_tf.layers.initializers import Normal
from vit_tf.layers.layer_scale import LayerScale
from vit_tf.layers.mlp import Mlp
from vit_tf.layers.module import Module
from vit_tf.layers.norm import LayerNorm
from vit_tf.layers.patch_dropout import PatchDropout
from vit_tf.layers.patch_embed import PatchEmbed

POOLS = ("", "token", "avg", "avgmax", "max")


class Block(Module):
    """A transformer block with pre-normalisation; timm's `Block`.

    Args:
        num_heads: Number of attention heads.
        mlp_ratio: Width of the MLP's hidden layer, relative to the tokens'.
        qkv_bias: Whether query, key and value have a bias.
        proj_bias: Whether the attention's and the MLP's projections have one.
        proj_drop: Dropout rate behind the projections.
        attn_drop: Dropout rate of the attention probabilities.
        init_values: What LayerScale starts from; None for no LayerScale.
        drop_path: The probability that a branch is dropped, while training.
    """

    def __init__(
        self,
        num_heads: int,
        mlp_ratio: float = 4.0,
        qkv_bias: bool = False,
        proj_bias: bool = True,
        proj_drop: float = 0.0,
        attn_drop: float = 0.0,
        init_values: float | None = None,
        drop_path: float = 0.0,
        **kwargs,
    ):
        super().__init__(**kwargs)
        self.num_heads = num_heads
        self.mlp_ratio = mlp_ratio
        self.qkv_bias = qkv_bias
        self.proj_bias = proj_bias
        self.proj_drop = proj_drop
        self.attn_drop = attn_drop
        self.init_values = init_values
        self.drop_path = drop_path

    def build(self, input_shape):
        dtype = self.dtype_policy
        self.norm1 = LayerNorm(dtype=dtype, name="norm1")
        self.attn = Attention(
            num_heads=self.num_heads,
            qkv_bias=self.qkv_bias,
            proj_bias=self.proj_bias,
            attn_drop=self.attn_drop,
            proj_drop=self.proj_drop,
            dtype=dtype,
            name="attn",
        )
        self.ls1 = self._layer_scale("ls1")
        self.drop_path1 = self._drop_path("drop_path1")

        self.norm2 = LayerNorm(dtype=dtype, name="norm2")
        self.mlp = Mlp(
            hidden_features=int(input_shape[-1] * self.mlp_ratio),
            bias=self.proj_bias,
            drop=self.proj_drop,
            dtype=dtype,
            name="mlp",
        )
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

    def compute_output_shape(self, input_shape):
        return input_shape

    def _layer_scale(self, name: str) -> keras.layers.Layer:
        if not self.init_values:
            return keras.layers.Identity(dtype=self.dtype_policy, name=name)
        return LayerScale(self.init_values, dtype=self.dtype_policy, name=name)

    def _drop_path(self, name: str) -> keras.layers.Layer:
        if not self.drop_path:
            return keras.layers.Identity(dtype=self.dtype_policy, name=name)
        return DropPath(self.drop_path, dtype=self.dtype_policy, name=name)


@keras.saving.register_keras_serializable(package="vit_tf")
class VisionTransformer(keras.Model):
    """timm's `VisionTransformer`, with its argument names and defaults.

    Call it on preprocessed images, (B, height, width, in_chans); it returns logits,
    (B, num_classes), or with `num_classes=0` the pooled features, (B, embed_dim).

    Args:
        img_size: Height and width of the images, or one number for both, in pixels.
        patch_size: Height and width of a patch, or one number for both, in pixels.
        in_chans: Number of image channels.
        num_classes: Number of classes; 0 for features.
        global_pool: What the head sees: the class "token"; the "avg", "max" or half
            the sum of both ("avgmax") of the patch tokens; or "", all tokens.
        embed_dim: Width of a token.
        depth: Number of blocks.
        num_heads: Number of attention heads.
        mlp_ratio: Width of an MLP's hidden layer, relative to `embed_dim`.
        qkv_bias: Whether query, key and value have a bias.
        proj_bias: Whether the projections of attention and MLP have one.
        init_values: What LayerScale starts from; None for no LayerScale.
        class_token: Whether there is one.
        no_embed_class: Whether prefix tokens go without a position embedding.
        reg_tokens: Number of register tokens (https://arxiv.org/abs/2309.16588).
        final_norm: Whether there is a norm behind the blocks.
        fc_norm: Whether that norm follows the pooling. None: if patches are pooled.
        drop_rate: Dropout rate before the head.
        pos_drop_rate: Dropout rate behind the position embedding.
        patch_drop_rate: Part of the patches left out while training.
        proj_drop_rate: Dropout rate behind the projections.
        attn_drop_rate: Dropout rate of the attention probabilities.
        drop_path_rate: Stochastic depth's rate in the last block; 0 in the first.

    Raises:
        ValueError: if `global_pool` is unknown, or needs a class token where there
            is none; if there is no block, channel or patch.
    """

    def __init__(
        self,
        img_size: int | tuple[int, int] = 224,
        patch_size: int | tuple[int, int] = 16,
        in_chans: int = 3,
        num_classes: int = 1000,
        global_pool: str = "token",
        embed_dim: int = 768,
        depth: int = 12,
        num_heads: int = 12,
        mlp_ratio: float = 4.0,
        qkv_bias: bool = True,
        proj_bias: bool = True,
        init_values: float | None = None,
        class_token: bool = True,
        no_embed_class: bool = False,
        reg_tokens: int = 0,
        final_norm: bool = True,
        fc_norm: bool | None = None,
        drop_rate: float = 0.0,
        pos_drop_rate: float = 0.0,
        patch_drop_rate: float = 0.0,
        proj_drop_rate: float = 0.0,
        attn_drop_rate: float = 0.0,
        drop_path_rate: float = 0.0,
        **kwargs,
    ):
        super().__init__(**kwargs)
        if global_pool not in POOLS:
            raise ValueError(f"global_pool={global_pool!r}: expected one of {POOLS}")
        if global_pool == "token" and not class_token:
            raise ValueError('global_pool="token" needs class_token=True')
        sizes = dict(depth=depth, embed_dim=embed_dim, in_chans=in_chans)
        for name, size in sizes.items():
            if size < 1:
                raise ValueError(f"{name}={size}: expected 1 or more")
        sizes = zip(_pair(img_size), _pair(patch_size), strict=True)
        if any(patch < 1 or size < patch for size, patch in sizes):
            raise ValueError(
                f"img_size={img_size}, patch_size={patch_size}: expected images of one "
                "patch or more"
            )
        self.img_size = _pair(img_size)
        self.patch_size = _pair(patch_size)
        self.in_chans = in_chans
        self.num_classes = num_classes
        self.global_pool = global_pool
        self.embed_dim = embed_dim
        self.depth = depth
        self.num_heads = num_heads
        self.mlp_ratio = mlp_ratio
        self.qkv_bias = qkv_bias
        self.proj_bias = proj_bias
        self.init_values = init_values
        self.class_token = class_token
        self.no_embed_class = no_embed_class
        self.reg_tokens = reg_tokens
        self.final_norm = final_norm
        self.fc_norm_arg = fc_norm
        self.drop_rate = drop_rate
        self.pos_drop_rate = pos_drop_rate
        self.patch_drop_rate = patch_drop_rate
        self.proj_drop_rate = proj_drop_rate
        self.attn_drop_rate = attn_drop_rate
        self.drop_path_rate = drop_path_rate
        self.num_prefix_tokens = int(class_token) + reg_tokens

    def build(self, input_shape):
        dtype = self.dtype_policy
        patches_pooled = self.global_pool in ("avg", "avgmax", "max")
        use_fc_norm = patches_pooled if self.fc_norm_arg is None else self.fc_norm_arg

        self.patch_embed = PatchEmbed(
            img_size=self.img_size,
            patch_size=self.patch_size,
            embed_dim=self.embed_dim,
            dtype=dtype,
            name="patch_embed",
        )
        self._build_tokens()
        self.pos_drop = keras.layers.Dropout(
            self.pos_drop_rate, dtype=dtype, name="pos_drop"
        )
        self.patch_drop = self._patch_drop("patch_drop")
        self.blocks = [
            Block(
                num_heads=self.num_heads,
                mlp_ratio=self.mlp_ratio,
                qkv_bias=self.qkv_bias,
                proj_bias=self.proj_bias,
                proj_drop=self.proj_drop_rate,
                attn_drop=self.attn_drop_rate,
                init_values=self.init_values,
                drop_path=drop_path,
                dtype=dtype,
                name=f"blocks.{i}",
            )
            for i, drop_path in enumerate(
                drop_path_rates(self.drop_path_rate, self.depth)
            )
        ]
        self.norm = self._norm("norm", self.final_norm and not use_fc_norm)
        self.fc_norm = self._norm("fc_norm", self.final_norm and use_fc_norm)
        self.head_drop = keras.layers.Dropout(
            self.drop_rate, dtype=dtype, name="head_drop"
        )
        self.head = self._classifier("head")

        self.patch_embed.build((None, *self.img_size, self.in_chans))
        for layer in (self.pos_drop, self.patch_drop, *self.blocks, self.norm):
            layer.build((None, None, self.embed_dim))
        for layer in (self.fc_norm, self.head_drop, self.head):
            layer.build((None, self.embed_dim))

    def call(self, images: tf.Tensor, training: bool = False) -> tf.Tensor:
        x = self.forward_features(images, training=training)
        return self.forward_head(x, training=training)

    def forward_features(self, images: tf.Tensor, training: bool = False) -> tf.Tensor:
        """Images (B, height, width, in_chans) to tokens (B, N, embed_dim)."""
        x = self.patch_embed(images)
        x = self._pos_embed(x)
        x = self.pos_drop(x, training=training)
        x = self.patch_drop(x, training=training)
        for block in self.blocks:
            x = block(x, training=training)
        return self.norm(x)

    def forward_head(
        self, x: tf.Tensor, pre_logits: bool = False, training: bool = False
    ) -> tf.Tensor:
        """Tokens (B, N, embed_dim) to logits, or to pooled features (`pre_logits`)."""
        x = self.fc_norm(self._pool(x))
        x = self.head_drop(x, training=training)
        return x if pre_logits else self.head(x)

    def get_config(self) -> dict:
        """The constructor's arguments, as plain values."""
        names = inspect.signature(VisionTransformer.__init__).parameters
        arguments = {
            name: getattr(self, name)
            for name in names
            if name not in ("self", "fc_norm", "kwargs")
        }
        return {**super().get_config(), **arguments, "fc_norm": self.fc_norm_arg}

    def build_from_config(self, config: dict) -> None:
        self.build((None, *self.img_size, self.in_chans))

    def _build_tokens(self) -> None:
        shape = (1, 1, self.embed_dim)
        if self.class_token:
            self.cls_token = self.add_weight(
                name="cls_token", shape=shape, initializer=Normal(1e-6)
            )
        if self.reg_tokens:
            self.reg_token = self.add_weight(
                name="reg_token",
                shape=(1, self.reg_tokens, self.embed_dim),
                initializer=Normal(1e-6),
            )
        self._build_pos_embed()

    def _build_pos_embed(self) -> None:
        prefix = 0 if self.no_embed_class else self.num_prefix_tokens
        self.pos_embed = self.add_weight(
            name="pos_embed",
            shape=(1, self.patch_embed.num_patches + prefix, self.embed_dim),
            initializer=Normal(),
        )

    def _prefix_tokens(self) -> list:
        tokens = [self.cls_token] if self.class_token else []
        return tokens + ([self.reg_token] if self.reg_tokens else [])

    def _pos_embed(self, x: tf.Tensor) -> tf.Tensor:
        batch = ops.shape(x)[0]
        prefix = [
            ops.broadcast_to(token, (batch, *token.shape[1:]))
            for token in self._prefix_tokens()
        ]
        if self.no_embed_class:  # DeiT-III: positions are those of the patches
            return ops.concatenate([*prefix, x + self.pos_embed], axis=1)
        return ops.concatenate([*prefix, x], axis=1) + self.pos_embed

    def _pool(self, x: tf.Tensor) -> tf.Tensor:
        if self.global_pool == "":
            return x
        if self.global_pool == "token":
            return x[:, 0]
        patches = x[:, self.num_prefix_tokens :]
        if self.global_pool == "avg":
            return ops.mean(patches, axis=1)
        if self.global_pool == "max":
            return ops.max(patches, axis=1)
        return 0.5 * (ops.max(patches, axis=1) + ops.mean(patches, axis=1))

    def _patch_drop(self, name: str) -> keras.layers.Layer:
        if not self.patch_drop_rate:
            return keras.layers.Identity(dtype=self.dtype_policy, name=name)
        return PatchDropout(
            self.patch_drop_rate,
            num_prefix_tokens=self.num_prefix_tokens,
            dtype=self.dtype_policy,
            name=name,
        )

    def _norm(self, name: str, present: bool) -> keras.layers.Layer:
        norm = LayerNorm if present else keras.layers.Identity
        return norm(dtype=self.dtype_policy, name=name)

    def _classifier(self, name: str) -> keras.layers.Layer:
        if not self.num_classes:
            return keras.layers.Identity(dtype=self.dtype_policy, name=name)
        return keras.layers.Dense(
            self.num_classes,
            kernel_initializer=Normal(),
            dtype=self.dtype_policy,
            name=name,
        )


def _pair(size: int | tuple[int, int]) -> tuple[int, int]:
    return (size, size) if isinstance(size, int) else tuple(size)
