"""The Swin Transformer (https://arxiv.org/abs/2103.14030), after timm's module."""

import functools
import itertools
from collections.abc import Callable, Sequence

import keras
import tensorflow as tf

from vit_tf.layers.adaptive_avgmax_pool import POOLS
from vit_tf.layers.classifier import ClassifierHead
from vit_tf.layers.drop_path import DropPath, drop_path_rates
from vit_tf.layers.identity import Identity
from vit_tf.layers.mlp import Mlp
from vit_tf.layers.module import Module
from vit_tf.layers.norm import LayerNorm
from vit_tf.layers.patch_embed import PatchEmbed, check_sizes, pair
from vit_tf.layers.patch_merging import PatchMerging
from vit_tf.layers.shift_regions import shift_regions, window_kinds
from vit_tf.layers.sizes import sizes
from vit_tf.layers.window import pad_to_windows, window_partition, window_reverse
from vit_tf.layers.window_attention import WindowAttention
from vit_tf.layers.window_sizes import WindowSize, stage_window_sizes
from vit_tf.models.features import feature_take_indices


class SwinTransformerBlock(Module):
    """Attention in windows, which may be shifted, and an MLP; timm's class.

    As in timm, a feature map is rolled first and then padded to whole windows, and no
    mask hides the padding. In mixed precision a branch computes in half, and is added
    in full, as in `BlockBase`.

    Args:
        input_resolution: Height and width of the feature map at the image size that
            the model is made for, in tokens: the window is no larger, and where it is
            not smaller, it is not shifted.
        num_heads: Number of attention heads.
        head_dim: Width of a head; None for the tokens' width divided by `num_heads`.
        window_size: Height and width of a window, in tokens.
        shift_size: By how many tokens windows are shifted, up and to the left.
        always_partition: Whether window and shift stay as they are on feature maps
            that are no larger.
        mlp_ratio: Width of the MLP's hidden layer, relative to the tokens'.
        qkv_bias: Whether query, key and value have a bias.
        proj_drop: Dropout rate behind the projections.
        attn_drop: Dropout rate of the attention probabilities.
        drop_path: The probability that a branch is dropped, while training.
    """

    def __init__(
        self,
        input_resolution: tuple[int, int],
        num_heads: int = 4,
        head_dim: int | None = None,
        window_size: int | tuple[int, int] = 7,
        shift_size: int | tuple[int, int] = 0,
        always_partition: bool = False,
        mlp_ratio: float = 4.0,
        qkv_bias: bool = True,
        proj_drop: float = 0.0,
        attn_drop: float = 0.0,
        drop_path: float = 0.0,
        **kwargs,
    ):
        super().__init__(autocast=False, **kwargs)
        self.input_resolution = tuple(input_resolution)
        self.num_heads = num_heads
        self.head_dim = head_dim
        self.always_partition = always_partition
        self.window_size, self.shift_size = (
            pair(window_size),
            pair(shift_size),
        )
        if not always_partition:
            fitted = [
                (size, 0) if size <= window else (window, shift)
                for size, window, shift in zip(
                    self.input_resolution, self.window_size, self.shift_size,
                    strict=True,
                )
            ]  # fmt: skip
            self.window_size, self.shift_size = zip(*fitted, strict=True)
        self.mlp_ratio = mlp_ratio
        self.qkv_bias = qkv_bias
        self.proj_drop = proj_drop
        self.attn_drop = attn_drop
        self.drop_path = drop_path

    def build(self, input_shape):
        dtype = self.dtype_policy
        self.dim = input_shape[-1]
        self.regions = None
        if any(self.shift_size):
            self.regions = shift_regions(self.window_size, self.shift_size)

        self.norm1 = self._norm("norm1")
        self.attn = self._window_attention("attn")
        self.drop_path1 = self._drop_path("drop_path1")

        self.norm2 = self._norm("norm2")
        self.mlp = Mlp(
            hidden_features=int(self.dim * self.mlp_ratio),
            drop=self.proj_drop,
            dtype=dtype,
            name="mlp",
        )
        self.drop_path2 = self._drop_path("drop_path2")
        for layer in (self.norm1, self.drop_path1):
            layer.build(input_shape)
        for layer in (self.attn, self.norm2, self.mlp, self.drop_path2):
            layer.build((None, None, self.dim))

    def call(self, x: tf.Tensor, training: bool = False) -> tf.Tensor:
        H, W, C = sizes(x, 1, 2, 3)
        y = self._attn(self.norm1(x), training=training)
        x = x + self.drop_path1(y, training=training)
        x = tf.reshape(x, (-1, H * W, C))
        y = self.mlp(self.norm2(x), training=training)
        x = x + self.drop_path2(y, training=training)
        return tf.reshape(x, (-1, H, W, C))

    def compute_output_shape(self, input_shape):
        return input_shape

    def _attn(self, x: tf.Tensor, training: bool) -> tf.Tensor:
        H, W = sizes(x, 1, 2)
        x = pad_to_windows(self._rolled(x, -1), self.window_size)
        padded = sizes(x, 1, 2)
        kinds = None
        if self.regions is not None:
            kinds = window_kinds(
                *(p // w for p, w in zip(padded, self.window_size, strict=True))
            )
        x = window_partition(x, self.window_size)  # (B*num_windows, N, C)
        x = self.attn(x, regions=self.regions, kinds=kinds, training=training)
        x = window_reverse(x, self.window_size, padded)  # (B, H, W, C), padded
        return self._rolled(x[:, :H, :W], 1)

    def _rolled(self, x: tf.Tensor, sign: int) -> tf.Tensor:
        """As `tf.roll`, which TF.js does not have."""
        H, W = sizes(x, 1, 2)
        below, right = (sign * shift for shift in self.shift_size)
        if below:
            x = tf.concat([x[:, -below % H :], x[:, : -below % H]], axis=1)
        if right:
            x = tf.concat([x[:, :, -right % W :], x[:, :, : -right % W]], axis=2)
        return x

    def _norm(self, name: str) -> keras.layers.Layer:
        return LayerNorm(eps=1e-5, dtype=self.variable_dtype, name=name)

    def _window_attention(self, name: str) -> keras.layers.Layer:
        return WindowAttention(
            num_heads=self.num_heads,
            head_dim=self.head_dim,
            window_size=self.window_size,
            qkv_bias=self.qkv_bias,
            attn_drop=self.attn_drop,
            proj_drop=self.proj_drop,
            dtype=self.dtype_policy,
            name=name,
        )

    def _drop_path(self, name: str) -> keras.layers.Layer | Identity:
        if not self.drop_path:
            return Identity(dtype=self.variable_dtype, name=name)
        return DropPath(self.drop_path, dtype=self.variable_dtype, name=name)


class SwinTransformerStage(Module):
    """Blocks on feature maps of one size, every other one with shifted windows.

    Args:
        input_resolution: Height and width of the feature map that it is given, at the
            image size that the model is made for, in tokens.
        window_size: Height and width of a window, in tokens.
        drop_path: For each block, the probability that a branch is dropped.
        downsample: Makes the layer before the blocks that halves the feature map,
            given `dtype` and `name`; None for none.
        block: Makes a block, given `input_resolution`, `window_size`, `shift_size`,
            `drop_path`, `dtype` and `name`.
    """

    def __init__(
        self,
        input_resolution: tuple[int, int],
        window_size: tuple[int, int],
        drop_path: Sequence[float],
        downsample: Callable[..., keras.layers.Layer] | None,
        block: Callable[..., keras.layers.Layer],
        **kwargs,
    ):
        super().__init__(autocast=False, **kwargs)
        self.input_resolution = tuple(input_resolution)
        self.window_size = tuple(window_size)
        self.drop_path = tuple(drop_path)
        self.downsample_layer = downsample
        self.block_layer = block

    def build(self, input_shape):
        dtype, resolution = self.dtype_policy, self.input_resolution
        if self.downsample_layer is None:
            self.downsample = Identity(dtype=self.variable_dtype, name="downsample")
        else:
            self.downsample = self.downsample_layer(dtype=dtype, name="downsample")
            resolution = tuple((size + 1) // 2 for size in resolution)
        shifted = tuple(size // 2 for size in self.window_size)
        self.blocks = [
            self.block_layer(
                input_resolution=resolution,
                window_size=self.window_size,
                shift_size=shifted if i % 2 else 0,
                drop_path=drop_path,
                dtype=dtype,
                name=f"blocks.{i}",
            )
            for i, drop_path in enumerate(self.drop_path)
        ]
        self.downsample.build(input_shape)
        shape = self.downsample.compute_output_shape(input_shape)
        for block in self.blocks:
            block.build(shape)

    def call(self, x: tf.Tensor, training: bool = False) -> tf.Tensor:
        x = self.downsample(x)
        for block in self.blocks:
            x = block(x, training=training)
        return x

    def compute_output_shape(self, input_shape):
        return self.downsample.compute_output_shape(input_shape)


class ShiftedWindowTransformer(keras.Model):
    """What timm's `SwinTransformer` and `SwinTransformerV2` have in common.

    Call it on preprocessed images, (B, height, width, in_chans); it returns logits,
    (B, num_classes), or with `num_classes=0` the pooled features, (B, num_features).

    Args:
        img_size: Height and width of the images, or one number for both, in pixels.
        patch_size: Height and width of a patch, or one number for both, in pixels.
        in_chans: Number of image channels.
        num_classes: Number of classes; 0 for features.
        global_pool: How the head pools the last feature map: "avg", "max", half the
            sum of both ("avgmax"), both side by side ("catavgmax"), or "", not at all.
        embed_dim: Width of a token in the first stage; each further one doubles it.
        depths: Number of blocks, for each stage.
        num_heads: Number of attention heads, for each stage.
        window_size: Height and width of a window, in tokens: one number, a pair, or
            either of them for each stage (two numbers are a pair).
        always_partition: Whether windows stay as they are where `img_size` gives
            feature maps that are no larger. If not, they shrink, and do not shift.
        strict_img_size: Whether images must be of `img_size`. If not, they may have
            any size, known or not when the graph is made; windows are those that
            `img_size` gives.
        dynamic_img_size: The same as `strict_img_size=False`.
        mlp_ratio: Width of an MLP's hidden layer, relative to the tokens'.
        qkv_bias: Whether query, key and value have a bias.
        drop_rate: Dropout rate before the classifier.
        proj_drop_rate: Dropout rate behind the projections.
        attn_drop_rate: Dropout rate of the attention probabilities.
        drop_path_rate: Stochastic depth's rate in the last block; 0 in the first.

    Raises:
        ValueError: if `global_pool` is unknown, if there is no block, channel or patch,
            or if not each stage has its heads or windows.
    """

    def __init__(
        self,
        img_size: int | tuple[int, int] = 224,
        patch_size: int | tuple[int, int] = 4,
        in_chans: int = 3,
        num_classes: int = 1000,
        global_pool: str = "avg",
        embed_dim: int = 96,
        depths: tuple[int, ...] = (2, 2, 6, 2),
        num_heads: tuple[int, ...] = (3, 6, 12, 24),
        window_size: WindowSize = 7,
        always_partition: bool = False,
        strict_img_size: bool = True,
        dynamic_img_size: bool = False,
        mlp_ratio: float = 4.0,
        qkv_bias: bool = True,
        drop_rate: float = 0.0,
        proj_drop_rate: float = 0.0,
        attn_drop_rate: float = 0.0,
        drop_path_rate: float = 0.1,
        **kwargs,
    ):
        super().__init__(autocast=False, **kwargs)  # layers do it themselves
        self.img_size = pair(img_size)
        self.patch_size = pair(patch_size)
        self.in_chans = in_chans
        self.num_classes = num_classes
        self.global_pool = global_pool
        self.embed_dim = embed_dim
        self.depths = tuple(depths)
        self.num_heads = tuple(num_heads)
        self.window_size = _as_tuples(window_size)
        self.always_partition = always_partition
        self.dynamic_img_size = dynamic_img_size or not strict_img_size
        self.strict_img_size = not self.dynamic_img_size
        self.mlp_ratio = mlp_ratio
        self.qkv_bias = qkv_bias
        self.drop_rate = drop_rate
        self.proj_drop_rate = proj_drop_rate
        self.attn_drop_rate = attn_drop_rate
        self.drop_path_rate = drop_path_rate
        self._check_arguments()
        self.num_features = embed_dim * 2 ** (len(self.depths) - 1)

    def build(self, input_shape):
        dtype = self.dtype_policy
        norm_layer = functools.partial(LayerNorm, eps=1e-5)
        self.patch_embed = PatchEmbed(
            img_size=self.img_size,
            patch_size=self.patch_size,
            embed_dim=self.embed_dim,
            norm_layer=norm_layer,
            output_fmt="NHWC",
            strict_img_size=self.strict_img_size,
            dtype=dtype,
            name="patch_embed",
        )
        rates = iter(drop_path_rates(self.drop_path_rate, sum(self.depths)))
        windows = stage_window_sizes(self.window_size, len(self.depths))
        self.stages = []
        resolution = self.patch_embed.grid_size
        for i, depth in enumerate(self.depths):
            stage = SwinTransformerStage(
                input_resolution=resolution,
                window_size=windows[i],
                drop_path=list(itertools.islice(rates, depth)),
                downsample=self._downsample(i) if i else None,
                block=self._block(i),
                dtype=dtype,
                name=f"layers.{i}",
            )
            self.stages.append(stage)
            if i:
                resolution = tuple((size + 1) // 2 for size in resolution)
        self.norm = norm_layer(dtype=self.variable_dtype, name="norm")
        self.head = ClassifierHead(
            self.num_classes,
            pool_type=self.global_pool,
            drop_rate=self.drop_rate,
            dtype=dtype,
            name="head",
        )

        shape = (None, *self.img_size, self.in_chans)
        for layer in (self.patch_embed, *self.stages, self.norm, self.head):
            layer.build(shape)
            shape = layer.compute_output_shape(shape)

    def call(self, images: tf.Tensor, training: bool = False) -> tf.Tensor:
        x = self.forward_features(images, training=training)
        return self.forward_head(x, training=training)

    def forward_features(self, images: tf.Tensor, training: bool = False) -> tf.Tensor:
        """Images (B, height, width, in_chans) to features (B, H, W, num_features)."""
        x = self.patch_embed(images)
        for stage in self.stages:
            x = stage(x, training=training)
        return self.norm(x)

    def forward_head(
        self, x: tf.Tensor, pre_logits: bool = False, training: bool = False
    ) -> tf.Tensor:
        """Features (B, H, W, num_features) to logits, or pooled (`pre_logits`)."""
        return self.head(x, pre_logits=pre_logits, training=training)

    def forward_intermediates(
        self,
        images: tf.Tensor,
        indices: int | Sequence[int] | None = None,
        *,
        norm: bool = False,
        intermediates_only: bool = False,
        training: bool = False,
    ) -> list[tf.Tensor] | tuple[tf.Tensor, list[tf.Tensor]]:
        """The stages' feature maps: a pyramid, as detection and segmentation use it.

        Args:
            images: (B, height, width, in_chans).
            indices: Which stages: the last so many, or these; None for all.
            norm: Whether the last stage's goes through the final norm.
            intermediates_only: Whether they are all that is returned.
            training: Whether what drops while training does.

        Returns:
            The feature maps (B, H, W, C) in the order of the stages; unless
            `intermediates_only`, what `forward_features` returns comes before them.

        Raises:
            ValueError: if there is no such stage.
        """
        wanted = feature_take_indices(len(self.stages), indices)
        x = self.patch_embed(images)
        found = {}
        last = max(wanted) if intermediates_only else len(self.stages) - 1
        for i, stage in enumerate(self.stages[: last + 1]):
            found[i] = x = stage(x, training=training)
        final = x
        if i == len(self.stages) - 1:
            final = self.norm(x)
            if norm:
                found[i] = final
        intermediates = [found[i] for i in sorted(set(wanted))]
        return intermediates if intermediates_only else (final, intermediates)

    @property
    def default_features(self) -> int:
        """How many feature maps `features_only=True` gives: as in timm, all."""
        return len(self.depths)

    @property
    def feature_info(self) -> list[dict]:
        """For each stage: timm's name, width, and pixels from token to token."""
        return [
            dict(
                module=f"layers.{i}",
                num_chs=self.embed_dim * 2**i,
                reduction=max(self.patch_size) * 2**i,
            )
            for i in range(len(self.depths))
        ]

    @property
    def repeated_blocks(self) -> list[list[keras.layers.Layer]]:
        """Blocks that compute the same function of input and weights."""
        groups: dict[tuple, list[keras.layers.Layer]] = {}
        for stage in self.stages:
            for block in stage.blocks:
                key = (stage.name, block.window_size, block.shift_size)
                groups.setdefault(key, []).append(block)
        return [blocks for blocks in groups.values() if len(blocks) > 1]

    def get_config(self) -> dict:
        """The constructor's arguments, as plain values."""
        return {
            **super().get_config(),
            "img_size": self.img_size,
            "patch_size": self.patch_size,
            "in_chans": self.in_chans,
            "num_classes": self.num_classes,
            "global_pool": self.global_pool,
            "embed_dim": self.embed_dim,
            "depths": self.depths,
            "num_heads": self.num_heads,
            "window_size": self.window_size,
            "always_partition": self.always_partition,
            "strict_img_size": self.strict_img_size,
            "dynamic_img_size": self.dynamic_img_size,
            "mlp_ratio": self.mlp_ratio,
            "qkv_bias": self.qkv_bias,
            "drop_rate": self.drop_rate,
            "proj_drop_rate": self.proj_drop_rate,
            "attn_drop_rate": self.attn_drop_rate,
            "drop_path_rate": self.drop_path_rate,
        }

    def build_from_config(self, config: dict) -> None:
        self.build((None, *self.img_size, self.in_chans))

    def _block(self, stage: int) -> Callable[..., keras.layers.Layer]:
        """Makes the blocks of a stage."""
        raise NotImplementedError

    def _downsample(self, stage: int) -> Callable[..., keras.layers.Layer]:
        """Makes the layer before the blocks of a stage that is not the first."""
        raise NotImplementedError

    def _block_arguments(self, stage: int) -> dict:
        return dict(
            num_heads=self.num_heads[stage],
            always_partition=self.always_partition,
            mlp_ratio=self.mlp_ratio,
            qkv_bias=self.qkv_bias,
            proj_drop=self.proj_drop_rate,
            attn_drop=self.attn_drop_rate,
        )

    def _check_arguments(self) -> None:
        if self.global_pool not in POOLS:
            raise ValueError(
                f"global_pool={self.global_pool!r}: expected one of {POOLS}"
            )
        check_sizes(
            self.img_size,
            self.patch_size,
            embed_dim=self.embed_dim,
            in_chans=self.in_chans,
            **{f"depths[{i}]": depth for i, depth in enumerate(self.depths)},
        )
        if not self.depths or len(self.num_heads) != len(self.depths):
            raise ValueError(
                f"num_heads={self.num_heads}, depths={self.depths}: expected a number "
                "of each for every stage"
            )
        stage_window_sizes(self.window_size, len(self.depths))


@keras.saving.register_keras_serializable(package="vit_tf")
class SwinTransformer(ShiftedWindowTransformer):
    """timm's `SwinTransformer`, with its argument names and defaults.

    Args:
        head_dim: Width of an attention head; None for the tokens' width divided by
            the number of heads.
        **kwargs: those of `ShiftedWindowTransformer`.
    """

    def __init__(self, *, head_dim: int | None = None, **kwargs):
        super().__init__(**kwargs)
        self.head_dim = head_dim

    def get_config(self) -> dict:
        return {**super().get_config(), "head_dim": self.head_dim}

    def _block(self, stage: int) -> Callable[..., keras.layers.Layer]:
        return functools.partial(
            SwinTransformerBlock,
            head_dim=self.head_dim,
            **self._block_arguments(stage),
        )

    def _downsample(self, stage: int) -> Callable[..., keras.layers.Layer]:
        return functools.partial(PatchMerging, self.embed_dim * 2**stage)


def _as_tuples(value: int | Sequence) -> int | tuple:
    """Lists, which a file gives for tuples, as tuples."""
    return value if isinstance(value, int) else tuple(map(_as_tuples, value))
