"""CaiT, class attention in image transformers (https://arxiv.org/abs/2103.17239).

After timm's module. Patch tokens pass through blocks of talking-head attention; the
class token joins only then, and alone passes through blocks of class attention.
"""

import inspect

import keras
import tensorflow as tf
from keras import ops

from vit_tf.layers.class_attn import ClassAttn
from vit_tf.layers.classifier import create_classifier
from vit_tf.layers.drop_path import DropPath
from vit_tf.layers.identity import Identity
from vit_tf.layers.initializers import Normal
from vit_tf.layers.mlp import Mlp
from vit_tf.layers.module import Module
from vit_tf.layers.norm import LayerNorm
from vit_tf.layers.patch_embed import PatchEmbed, check_sizes, pair
from vit_tf.layers.pos_embed import resample_abs_pos_embed
from vit_tf.layers.sizes import size, sizes
from vit_tf.layers.talking_head_attn import TalkingHeadAttn
from vit_tf.models.features import feature_take_indices

POOLS = ("", "token", "avg")


class LayerScaleBlock(Module):
    """A block whose branches are scaled channel by channel; timm's `LayerScaleBlock`.

    In mixed precision what goes from block to block keeps the precision of the weights,
    as under torch's autocast.

    Args:
        num_heads: Number of attention heads.
        mlp_ratio: Width of the MLP's hidden layer, relative to the tokens'.
        qkv_bias: Whether query, key and value have a bias.
        proj_drop: Dropout rate behind the projections.
        attn_drop: Dropout rate of the attention probabilities.
        drop_path: The probability that a branch is dropped, while training.
        init_values: What the scales, `gamma_1` and `gamma_2`, start from.
    """

    attn_block = TalkingHeadAttn

    def __init__(
        self,
        num_heads: int,
        mlp_ratio: float = 4.0,
        qkv_bias: bool = False,
        proj_drop: float = 0.0,
        attn_drop: float = 0.0,
        drop_path: float = 0.0,
        init_values: float = 1e-4,
        **kwargs,
    ):
        super().__init__(autocast=False, **kwargs)
        self.num_heads = num_heads
        self.mlp_ratio = mlp_ratio
        self.qkv_bias = qkv_bias
        self.proj_drop = proj_drop
        self.attn_drop = attn_drop
        self.drop_path_rate = drop_path
        self.init_values = init_values

    def build(self, input_shape):
        dim, dtype = input_shape[-1], self.dtype_policy
        self.norm1 = LayerNorm(dtype=self.variable_dtype, name="norm1")
        self.attn = self.attn_block(
            num_heads=self.num_heads,
            qkv_bias=self.qkv_bias,
            attn_drop=self.attn_drop,
            proj_drop=self.proj_drop,
            dtype=dtype,
            name="attn",
        )
        self.drop_path = self._drop_path("drop_path")
        self.norm2 = LayerNorm(dtype=self.variable_dtype, name="norm2")
        self.mlp = Mlp(
            hidden_features=int(dim * self.mlp_ratio),
            drop=self.proj_drop,
            dtype=dtype,
            name="mlp",
        )
        for layer in (self.norm1, self.attn, self.drop_path, self.norm2, self.mlp):
            layer.build(input_shape)
        start = keras.initializers.Constant(self.init_values)
        self.gamma_1 = self.add_weight(name="gamma_1", shape=(dim,), initializer=start)
        self.gamma_2 = self.add_weight(name="gamma_2", shape=(dim,), initializer=start)

    def call(self, x: tf.Tensor, training: bool = False) -> tf.Tensor:
        y = ops.multiply(self.gamma_1, self.attn(self.norm1(x), training=training))
        x = x + self.drop_path(y, training=training)
        y = ops.multiply(self.gamma_2, self.mlp(self.norm2(x), training=training))
        return x + self.drop_path(y, training=training)

    def compute_output_shape(self, input_shape):
        return input_shape

    def _drop_path(self, name: str) -> keras.layers.Layer | Identity:
        if not self.drop_path_rate:
            return Identity(dtype=self.variable_dtype, name=name)
        return DropPath(self.drop_path_rate, dtype=self.variable_dtype, name=name)


class LayerScaleBlockClassAttn(LayerScaleBlock):
    """Such a block for the class token; timm's `LayerScaleBlockClassAttn`.

    Called with patch tokens, (B, N, C), and the class token, (B, 1, C): it returns the
    class token's new value. The patch tokens are read, and stay what they are.
    """

    attn_block = ClassAttn

    def call(self, x: tf.Tensor, x_cls: tf.Tensor, training: bool = False) -> tf.Tensor:
        u = ops.concatenate([x_cls, x], axis=1)  # (B, 1 + N, C)
        y = ops.multiply(self.gamma_1, self.attn(self.norm1(u), training=training))
        x_cls = x_cls + self.drop_path(y, training=training)
        y = ops.multiply(self.gamma_2, self.mlp(self.norm2(x_cls), training=training))
        return x_cls + self.drop_path(y, training=training)

    def compute_output_shape(self, input_shape):
        return (input_shape[0], 1, input_shape[2])


@keras.saving.register_keras_serializable(package="vit_tf")
class Cait(keras.Model):
    """timm's `Cait`, with its argument names and defaults.

    Call it on preprocessed images, (B, height, width, in_chans); it returns logits,
    (B, num_classes), or with `num_classes=0` the pooled features, (B, embed_dim).

    Args:
        img_size: Height and width of the images, or one number for both, in pixels.
        patch_size: Height and width of a patch, or one number for both, in pixels.
        in_chans: Number of image channels.
        num_classes: Number of classes; 0 for features.
        global_pool: What the head sees: the class "token"; the mean ("avg") of the
            patch tokens; or "", all tokens.
        embed_dim: Width of a token.
        depth: Number of blocks for the patch tokens.
        num_heads: Number of attention heads.
        mlp_ratio: Width of an MLP's hidden layer, relative to `embed_dim`.
        qkv_bias: Whether query, key and value have a bias.
        drop_rate: Dropout rate before the head.
        pos_drop_rate: Dropout rate behind the position embedding.
        proj_drop_rate: Dropout rate behind the projections of the patch blocks.
        attn_drop_rate: Dropout rate of their attention probabilities.
        drop_path_rate: Stochastic depth's rate, the same in each of them.
        init_values: What the scales of the branches start from.
        depth_token_only: Number of blocks for the class token.
        mlp_ratio_token_only: Theirs in place of `mlp_ratio`.
        dynamic_img_size: Whether images may be of any size that the patch divides: the
            position embedding is then resampled to their grid. Ours; timm's Cait takes
            `img_size` only, its `VisionTransformer` has the argument.

    Raises:
        ValueError: if `global_pool` is unknown; if there is no block, channel or patch.
    """

    own_arguments = ("dynamic_img_size",)  # which timm's class does not have

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
        drop_rate: float = 0.0,
        pos_drop_rate: float = 0.0,
        proj_drop_rate: float = 0.0,
        attn_drop_rate: float = 0.0,
        drop_path_rate: float = 0.0,
        init_values: float = 1e-4,
        depth_token_only: int = 2,
        mlp_ratio_token_only: float = 4.0,
        dynamic_img_size: bool = False,
        **kwargs,
    ):
        super().__init__(autocast=False, **kwargs)  # layers do it themselves
        if global_pool not in POOLS:
            raise ValueError(f"global_pool={global_pool!r}: expected one of {POOLS}")
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
        self.drop_rate = drop_rate
        self.pos_drop_rate = pos_drop_rate
        self.proj_drop_rate = proj_drop_rate
        self.attn_drop_rate = attn_drop_rate
        self.drop_path_rate = drop_path_rate
        self.init_values = init_values
        self.depth_token_only = depth_token_only
        self.mlp_ratio_token_only = mlp_ratio_token_only
        self.dynamic_img_size = dynamic_img_size
        self.num_prefix_tokens = 1

    def build(self, input_shape):
        dtype = self.dtype_policy
        self.patch_embed = PatchEmbed(
            img_size=self.img_size,
            patch_size=self.patch_size,
            embed_dim=self.embed_dim,
            strict_img_size=not self.dynamic_img_size,
            dtype=dtype,
            name="patch_embed",
        )
        self.cls_token = self.add_weight(
            name="cls_token",
            shape=(1, 1, self.embed_dim),
            initializer=Normal(),
            autocast=False,
        )
        self.pos_embed = self.add_weight(
            name="pos_embed",
            shape=(1, self.patch_embed.num_patches, self.embed_dim),
            initializer=Normal(),
            autocast=False,
        )
        self.pos_drop = keras.layers.Dropout(
            self.pos_drop_rate, dtype=self.variable_dtype, name="pos_drop"
        )
        self.blocks = [
            LayerScaleBlock(
                num_heads=self.num_heads,
                mlp_ratio=self.mlp_ratio,
                qkv_bias=self.qkv_bias,
                proj_drop=self.proj_drop_rate,
                attn_drop=self.attn_drop_rate,
                drop_path=self.drop_path_rate,
                init_values=self.init_values,
                dtype=dtype,
                name=f"blocks.{i}",
            )
            for i in range(self.depth)
        ]
        self.blocks_token_only = [  # without dropout, as in timm
            LayerScaleBlockClassAttn(
                num_heads=self.num_heads,
                mlp_ratio=self.mlp_ratio_token_only,
                qkv_bias=self.qkv_bias,
                init_values=self.init_values,
                dtype=dtype,
                name=f"blocks_token_only.{i}",
            )
            for i in range(self.depth_token_only)
        ]
        self.norm = LayerNorm(dtype=self.variable_dtype, name="norm")
        self.head_drop = keras.layers.Dropout(
            self.drop_rate, dtype=self.variable_dtype, name="head_drop"
        )
        self.head = create_classifier(self, "head")

        self.patch_embed.build((None, *self.img_size, self.in_chans))
        tokens = (None, None, self.embed_dim)
        for layer in (self.pos_drop, *self.blocks, *self.blocks_token_only, self.norm):
            layer.build(tokens)
        for layer in (self.head_drop, self.head):
            layer.build((None, self.embed_dim))

    def call(self, images: tf.Tensor, training: bool = False) -> tf.Tensor:
        x = self.forward_features(images, training=training)
        return self.forward_head(x, training=training)

    def forward_features(self, images: tf.Tensor, training: bool = False) -> tf.Tensor:
        """Images (B, height, width, in_chans) to tokens (B, 1 + N, embed_dim)."""
        x = self._embedded(images, training)
        for block in self.blocks:
            x = block(x, training=training)
        return self.norm(self.forward_cls(x, training=training))

    def forward_cls(self, x: tf.Tensor, training: bool = False) -> tf.Tensor:
        """Patch tokens (B, N, embed_dim), with the class token before them."""
        x_cls = ops.broadcast_to(self.cls_token, (size(x, 0), 1, self.embed_dim))
        for block in self.blocks_token_only:
            x_cls = block(x, x_cls, training=training)
        return ops.concatenate([x_cls, x], axis=1)

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
            The final tokens (B, 1 + N, embed_dim), and a list of (B, H, W, embed_dim);
            or that list alone.
        """
        taken = feature_take_indices(self.depth, indices)
        H, W = self.patch_embed.dynamic_feat_size(sizes(images, 1, 2))
        x = self._embedded(images, training)
        intermediates = []
        blocks = self.blocks[: max(taken) + 1] if intermediates_only else self.blocks
        for i, block in enumerate(blocks):
            x = block(x, training=training)
            if i in taken:
                patches = self.norm(x) if norm else x
                patches = tf.reshape(patches, (-1, H, W, self.embed_dim))
                intermediates.append(patches)
        if intermediates_only:
            return intermediates
        return self.norm(self.forward_cls(x, training=training)), intermediates

    def forward_head(
        self, x: tf.Tensor, pre_logits: bool = False, training: bool = False
    ) -> tf.Tensor:
        """Tokens (B, 1 + N, embed_dim) to logits, or pooled features (`pre_logits`)."""
        if self.global_pool == "avg":
            x = ops.mean(x[:, self.num_prefix_tokens :], axis=1)
        elif self.global_pool == "token":
            x = x[:, 0]
        x = self.head_drop(x, training=training)
        return x if pre_logits else self.head(x)

    def get_config(self) -> dict:
        """The constructor's arguments, as plain values."""
        names = inspect.signature(Cait.__init__).parameters
        arguments = {
            name: getattr(self, name)
            for name in names
            if name not in ("self", "kwargs")
        }
        return {**super().get_config(), **arguments}

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
        """Groups of blocks that compute the same function of one input and weights."""
        return [self.blocks]

    def _embedded(self, images: tf.Tensor, training: bool) -> tf.Tensor:
        """What the first block sees, (B, N, embed_dim)."""
        x = self.patch_embed(images)
        pos_embed = self.pos_embed
        if self.dynamic_img_size:
            pos_embed = resample_abs_pos_embed(
                pos_embed,
                new_size=self.patch_embed.dynamic_feat_size(sizes(images, 1, 2)),
                old_size=self.patch_embed.grid_size,
                num_prefix_tokens=0,
            )
        return self.pos_drop(ops.add(x, pos_embed), training=training)
