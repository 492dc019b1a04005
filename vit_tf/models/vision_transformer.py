"""The Vision Transformer (https://arxiv.org/abs/2010.11929), after timm's module."""

import inspect

import keras
import tensorflow as tf
from keras import ops

from vit_tf.layers.attention_pool import AttentionPoolLatent, AttentionPoolPrr
from vit_tf.layers.block import Block, ResPostBlock
from vit_tf.layers.classifier import create_classifier
from vit_tf.layers.drop_path import drop_path_rates
from vit_tf.layers.identity import Identity
from vit_tf.layers.initializers import Normal
from vit_tf.layers.norm import norm_layer
from vit_tf.layers.parallel_block import (
    DiffParallelScalingBlock,
    ParallelScalingBlock,
    ParallelThingsBlock,
)
from vit_tf.layers.patch_dropout import PatchDropout
from vit_tf.layers.patch_embed import PatchEmbed, check_sizes, pair
from vit_tf.layers.pos_embed import resample_abs_pos_embed
from vit_tf.layers.sizes import size, sizes
from vit_tf.layers.spec import resolve
from vit_tf.models.features import feature_take_indices

POOLS = ("", "token", "avg", "avgmax", "max", "map", "prr")
POS_EMBEDS = ("", "none", "learn")
PATCH_POOLS = ("avg", "avgmax", "max")  # of what remains without the prefix tokens
BLOCKS = {
    block.__name__: block
    for block in (
        Block,
        ResPostBlock,
        ParallelScalingBlock,
        DiffParallelScalingBlock,
        ParallelThingsBlock,
    )
}


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
            the sum of both ("avgmax") of the patch tokens; what a learned query finds
            among them ("map"); the token or mean after parameterless attention
            ("prr"); or "", all tokens.
        embed_dim: Width of a token.
        depth: Number of blocks.
        num_heads: Number of attention heads.
        mlp_ratio: Width of an MLP's hidden layer, relative to `embed_dim`.
        qkv_bias: Whether query, key and value have a bias.
        qk_norm: Whether each head's queries and keys are normalised.
        scale_attn_norm: Whether there is a norm before the attention's projection.
        scale_mlp_norm: Whether there is one before the MLP's second projection.
        proj_bias: Whether the projections of attention and MLP have one.
        init_values: What LayerScale starts from; None for no LayerScale.
        class_token: Whether there is one.
        pos_embed: "learn", or "none" for no position embedding.
        no_embed_class: Whether prefix tokens go without a position embedding.
        reg_tokens: Number of register tokens (https://arxiv.org/abs/2309.16588).
        pre_norm: Whether there is a norm before the blocks, as in CLIP.
        final_norm: Whether there is a norm behind the blocks.
        fc_norm: Whether that norm follows the pooling. None: if patches are pooled.
        pool_include_prefix: Whether prefix tokens are pooled too.
        dynamic_img_size: Whether images of any size are taken; the position embedding
            is then resampled to their grid. `img_size` is that of the weights.
        dynamic_img_pad: Whether images are padded to whole patches.
        drop_rate: Dropout rate before the head.
        pos_drop_rate: Dropout rate behind the position embedding.
        patch_drop_rate: Part of the patches left out while training.
        proj_drop_rate: Dropout rate behind the projections.
        attn_drop_rate: Dropout rate of the attention probabilities.
        drop_path_rate: Stochastic depth's rate in the last block; 0 in the first.
        embed_norm_layer: The norm behind the patch embedding, as text; None for none.
        norm_layer: Every other norm, as text: "LayerNorm", "RmsNorm(eps=1e-5)".
        act_layer: timm's name of the MLPs' activation, e.g. "gelu", "quick_gelu".
        block_fn: The blocks' class, one of `BLOCKS`.
        mlp_layer: The MLPs, as text: "Mlp", "GluMlp", "SwiGLU" or "SwiGLUPacked".
        attn_layer: timm's name of the attention, "attn" or "diff".

    Raises:
        ValueError: if `global_pool` is unknown, or needs a class token where there
            is none; if there is no block, channel or patch; if a layer that is named
            is none of those that are known.
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
        qk_norm: bool = False,
        scale_attn_norm: bool = False,
        scale_mlp_norm: bool = False,
        proj_bias: bool = True,
        init_values: float | None = None,
        class_token: bool = True,
        pos_embed: str = "learn",
        no_embed_class: bool = False,
        reg_tokens: int = 0,
        pre_norm: bool = False,
        final_norm: bool = True,
        fc_norm: bool | None = None,
        pool_include_prefix: bool = False,
        dynamic_img_size: bool = False,
        dynamic_img_pad: bool = False,
        drop_rate: float = 0.0,
        pos_drop_rate: float = 0.0,
        patch_drop_rate: float = 0.0,
        proj_drop_rate: float = 0.0,
        attn_drop_rate: float = 0.0,
        drop_path_rate: float = 0.0,
        embed_norm_layer: str | None = None,
        norm_layer: str = "LayerNorm",
        act_layer: str = "gelu",
        block_fn: str = "Block",
        mlp_layer: str = "Mlp",
        attn_layer: str = "attn",
        **kwargs,
    ):
        super().__init__(autocast=False, **kwargs)  # layers do it themselves
        if global_pool not in POOLS:
            raise ValueError(f"global_pool={global_pool!r}: expected one of {POOLS}")
        if global_pool == "token" and not class_token:
            raise ValueError('global_pool="token" needs class_token=True')
        if pos_embed not in POS_EMBEDS:
            raise ValueError(f"pos_embed={pos_embed!r}: expected one of {POS_EMBEDS}")
        check_sizes(
            img_size, patch_size, depth=depth, embed_dim=embed_dim, in_chans=in_chans
        )
        self.img_size = pair(img_size)
        self.patch_size = pair(patch_size)
        self.in_chans = in_chans
        self.num_classes = num_classes
        self.global_pool = global_pool
        self.embed_dim = embed_dim
        self.depth = depth
        self.num_heads = num_heads
        self.mlp_ratio = mlp_ratio
        self.qkv_bias = qkv_bias
        self.qk_norm = qk_norm
        self.scale_attn_norm = scale_attn_norm
        self.scale_mlp_norm = scale_mlp_norm
        self.proj_bias = proj_bias
        self.init_values = init_values
        self.class_token = class_token
        self.pos_embed_arg = pos_embed  # the weight takes the name
        self.no_embed_class = no_embed_class
        self.reg_tokens = reg_tokens
        self.pre_norm = pre_norm
        self.final_norm = final_norm
        self.fc_norm_arg = fc_norm  # the layer takes the name
        self.pool_include_prefix = pool_include_prefix
        self.dynamic_img_size = dynamic_img_size
        self.dynamic_img_pad = dynamic_img_pad
        self.drop_rate = drop_rate
        self.pos_drop_rate = pos_drop_rate
        self.patch_drop_rate = patch_drop_rate
        self.proj_drop_rate = proj_drop_rate
        self.attn_drop_rate = attn_drop_rate
        self.drop_path_rate = drop_path_rate
        self.embed_norm_layer = embed_norm_layer
        self.norm_layer = norm_layer
        self.act_layer = act_layer
        self.block_fn = block_fn
        self.mlp_layer = mlp_layer
        self.attn_layer = attn_layer
        self.num_prefix_tokens = int(class_token) + reg_tokens

    def build(self, input_shape):
        use_fc_norm = self.fc_norm_arg
        if use_fc_norm is None:
            use_fc_norm = self.global_pool in PATCH_POOLS

        self.patch_embed = self._patch_embed_layer()
        self.patch_embed.build((None, *self.img_size, self.in_chans))
        if self.dynamic_img_pad and not self.dynamic_img_size:
            self._check_whole_patches()
        self._build_tokens()
        self.pos_drop = keras.layers.Dropout(
            self.pos_drop_rate, dtype=self.variable_dtype, name="pos_drop"
        )
        self.patch_drop = self._patch_drop("patch_drop")
        self.norm_pre = self._norm("norm_pre", self.pre_norm)
        self.blocks = [
            self._block(i, drop_path)
            for i, drop_path in enumerate(
                drop_path_rates(self.drop_path_rate, self.depth)
            )
        ]
        self.norm = self._norm("norm", self.final_norm and not use_fc_norm)
        self.attn_pool = self._attn_pool("attn_pool")
        self.fc_norm = self._norm("fc_norm", self.final_norm and use_fc_norm)
        self.head_drop = keras.layers.Dropout(
            self.drop_rate, dtype=self.variable_dtype, name="head_drop"
        )
        self.head = create_classifier(self, "head")

        for layer in (
            self.pos_drop, self.patch_drop, self.norm_pre, *self.blocks, self.norm,
            self.attn_pool,
        ):  # fmt: skip
            layer.build((None, None, self.embed_dim))
        for layer in (self.fc_norm, self.head_drop, self.head):
            layer.build((None, self.embed_dim))

    def call(self, images: tf.Tensor, training: bool = False) -> tf.Tensor:
        x = self.forward_features(images, training=training)
        return self.forward_head(x, training=training)

    def forward_features(self, images: tf.Tensor, training: bool = False) -> tf.Tensor:
        """Images (B, height, width, in_chans) to tokens (B, N, embed_dim)."""
        x, _ = self._embedded(images, training)
        for block in self.blocks:
            x = block(x, training=training)
        return self.norm(x)

    def forward_intermediates(
        self,
        images: tf.Tensor,
        indices: int | list[int] | None = None,
        *,
        norm: bool = False,
        intermediates_only: bool = False,
        training: bool = False,
    ) -> list[tf.Tensor] | tuple[tf.Tensor, list[tf.Tensor]]:
        """The patch tokens behind several blocks, as images of features.

        Args:
            images: (B, height, width, in_chans).
            indices: Which blocks; as `feature_take_indices` takes them.
            norm: Whether the last norm is applied to each.
            intermediates_only: Whether the final tokens are left out; blocks behind
                the last that is taken then do not run.
            training: Whether to drop out.

        Returns:
            The final tokens (B, N, embed_dim), and a list of (B, H, W, embed_dim); or
            that list alone.

        Raises:
            ValueError: if there is no such block, or patches are left out.
        """
        taken = feature_take_indices(self.depth, indices)
        if training and self.patch_drop_rate:
            raise ValueError(
                f"patch_drop_rate={self.patch_drop_rate}: tokens that were left out "
                "make no feature map; expected 0 where a backbone trains"
            )
        batch = size(images, 0)
        x, grid = self._embedded(images, training)
        intermediates = []
        blocks = self.blocks[: max(taken) + 1] if intermediates_only else self.blocks
        for i, block in enumerate(blocks):
            x = block(x, training=training)
            if i in taken:
                patches = (self.norm(x) if norm else x)[:, self.num_prefix_tokens :]
                shape = (batch, *grid, self.embed_dim)
                intermediates.append(tf.reshape(patches, shape))
        if intermediates_only:
            return intermediates
        return self.norm(x), intermediates

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
        renamed = {"fc_norm": self.fc_norm_arg, "pos_embed": self.pos_embed_arg}
        arguments = {
            name: getattr(self, name)
            for name in names
            if name not in ("self", "kwargs", *renamed)
        }
        return {**super().get_config(), **arguments, **renamed}

    def build_from_config(self, config: dict) -> None:
        self.build((None, *self.img_size, self.in_chans))

    default_features = 3  # how many `features_only=True` gives, as in timm

    @property
    def feature_info(self) -> list[dict]:
        """Of each block: `module`, `num_chs` and `reduction`, as in timm."""
        reduction = self.patch_embed.feat_ratio()
        return [
            dict(module=block.name, num_chs=self.embed_dim, reduction=reduction)
            for block in self.blocks
        ]

    @property
    def repeated_blocks(self) -> list[list[keras.layers.Layer]]:
        """Groups of blocks that compute the same function of input and weights."""
        if self.attn_layer == "diff" or self.block_fn.startswith("Diff"):
            return []  # each has a lambda of its own
        return [self.blocks]

    def _patch_embed_layer(self) -> keras.layers.Layer:
        return PatchEmbed(
            img_size=self.img_size,
            patch_size=self.patch_size,
            embed_dim=self.embed_dim,
            norm_layer=self.embed_norm_layer and norm_layer(self.embed_norm_layer),
            bias=not self.pre_norm,  # the norm before the blocks has one
            dtype=self.dtype_policy,
            name="patch_embed",
            **self._embed_args(),
        )

    def _check_whole_patches(self) -> None:
        shape = (None, *self.img_size, self.in_chans)
        num_tokens = self.patch_embed.compute_output_shape(shape)[1]
        if num_tokens != self.patch_embed.num_patches:
            raise ValueError(
                f"img_size={self.img_size}: {num_tokens} patches once padded, and "
                f"positions for {self.patch_embed.num_patches}; expected: an img_size "
                "of whole patches, or dynamic_img_size=True"
            )

    def _embed_args(self) -> dict:
        """What a patch embedding is told of images whose size is not fixed."""
        if not self.dynamic_img_size:
            return {"dynamic_img_pad": self.dynamic_img_pad}
        return {
            "dynamic_img_pad": self.dynamic_img_pad,
            "strict_img_size": False,
            "output_fmt": "NHWC",  # flattened once positions are added
        }

    def _block(self, i: int, drop_path: float) -> keras.layers.Layer:
        return resolve(self.block_fn, BLOCKS)(
            num_heads=self.num_heads,
            mlp_ratio=self.mlp_ratio,
            qkv_bias=self.qkv_bias,
            qk_norm=self.qk_norm,
            scale_attn_norm=self.scale_attn_norm,
            scale_mlp_norm=self.scale_mlp_norm,
            proj_bias=self.proj_bias,
            proj_drop=self.proj_drop_rate,
            attn_drop=self.attn_drop_rate,
            init_values=self.init_values,
            drop_path=drop_path,
            act_layer=self.act_layer,
            norm_layer=self.norm_layer,
            mlp_layer=self.mlp_layer,
            attn_layer=self.attn_layer,
            depth=i,
            dtype=self.dtype_policy,
            name=f"blocks.{i}",
        )

    def _embedded(
        self, images: tf.Tensor, training: bool
    ) -> tuple[tf.Tensor, tuple[int | tf.Tensor, int | tf.Tensor]]:
        """What the first block sees, (B, N, embed_dim), and the grid of patches."""
        x = self.patch_embed(images, training=training)
        grid = self.patch_embed.grid_size
        if self.dynamic_img_size:
            grid = sizes(x, 1, 2)
        x = self._pos_embed(x, training)
        x = self.patch_drop(x, training=training)
        return self.norm_pre(x), grid

    def _build_tokens(self) -> None:
        shape = (1, 1, self.embed_dim)
        if self.class_token:
            self.cls_token = self.add_weight(
                name="cls_token",
                shape=shape,
                initializer=Normal(1e-6),
                autocast=False,
            )
        if self.reg_tokens:
            self.reg_token = self.add_weight(
                name="reg_token",
                shape=(1, self.reg_tokens, self.embed_dim),
                initializer=Normal(1e-6),
                autocast=False,
            )
        self._build_pos_embed()

    def _build_pos_embed(self) -> None:
        self.pos_embed = None
        if self.pos_embed_arg == "learn":
            num_tokens = self.patch_embed.num_patches + self._num_embedded_prefix()
            self.pos_embed = self.add_weight(
                name="pos_embed",
                shape=(1, num_tokens, self.embed_dim),
                initializer=Normal(),
                autocast=False,
            )

    def _num_embedded_prefix(self) -> int:
        """How many prefix tokens have a position embedding."""
        return 0 if self.no_embed_class else self.num_prefix_tokens

    def _prefix_tokens(self) -> list:
        tokens = [self.cls_token] if self.class_token else []
        return tokens + ([self.reg_token] if self.reg_tokens else [])

    def _pos_embed(self, x: tf.Tensor, training: bool) -> tf.Tensor:
        pos_embed = self.pos_embed
        if self.dynamic_img_size:
            grid = sizes(x, 1, 2)
            x = tf.reshape(x, (size(x, 0), -1, self.embed_dim))
            if pos_embed is not None:
                pos_embed = resample_abs_pos_embed(
                    pos_embed,
                    new_size=grid,
                    old_size=self.patch_embed.grid_size,
                    num_prefix_tokens=self._num_embedded_prefix(),
                )
        batch = size(x, 0)
        prefix = [
            ops.broadcast_to(token, (batch, *token.shape[1:]))
            for token in self._prefix_tokens()
        ]
        if pos_embed is None:
            return ops.concatenate([*prefix, x], axis=1)
        if self.no_embed_class:  # DeiT-III: positions are those of the patches
            x = ops.concatenate([*prefix, ops.add(x, pos_embed)], axis=1)
        else:
            x = ops.add(ops.concatenate([*prefix, x], axis=1), pos_embed)
        return self.pos_drop(x, training=training)

    def _pool(self, x: tf.Tensor) -> tf.Tensor:
        if self.global_pool == "":
            return x
        if self.global_pool == "token":
            return x[:, 0]
        if not self.pool_include_prefix and self.global_pool != "prr":
            x = x[:, self.num_prefix_tokens :]
        if self.global_pool in ("map", "prr"):
            return self.attn_pool(x)
        if self.global_pool == "avg":
            return ops.mean(x, axis=1)
        if self.global_pool == "max":
            return ops.max(x, axis=1)
        return 0.5 * (ops.max(x, axis=1) + ops.mean(x, axis=1))

    def _attn_pool(self, name: str) -> keras.layers.Layer | Identity:
        if self.global_pool == "map":
            return AttentionPoolLatent(
                num_heads=self.num_heads,
                mlp_ratio=self.mlp_ratio,
                norm_layer=self.norm_layer,
                act_layer=self.act_layer,
                dtype=self.dtype_policy,
                name=name,
            )
        if self.global_pool == "prr":
            pool_type = "token" if self.class_token else "avg"
            return AttentionPoolPrr(
                num_heads=self.num_heads,
                pool_type=pool_type,
                dtype=self.dtype_policy,
                name=name,
            )
        return Identity(dtype=self.dtype_policy, name=name)

    def _patch_drop(self, name: str) -> keras.layers.Layer | Identity:
        if not self.patch_drop_rate:
            return Identity(dtype=self.variable_dtype, name=name)
        return PatchDropout(
            self.patch_drop_rate,
            num_prefix_tokens=self.num_prefix_tokens,
            dtype=self.variable_dtype,
            name=name,
        )

    def _norm(self, name: str, present: bool) -> keras.layers.Layer | Identity:
        norm = norm_layer(self.norm_layer) if present else Identity
        return norm(dtype=self.variable_dtype, name=name)
