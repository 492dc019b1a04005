"""The Swin Transformer V2 (https://arxiv.org/abs/2111.09883), after timm's module."""

import functools
from collections.abc import Callable

import keras
import tensorflow as tf

from vit_tf.layers.norm import LayerNorm
from vit_tf.layers.patch_embed import pair
from vit_tf.layers.patch_merging import PatchMergingV2
from vit_tf.layers.sizes import sizes
from vit_tf.layers.window_attention_v2 import WindowAttentionV2
from vit_tf.models.swin_transformer import (
    ShiftedWindowTransformer,
    SwinTransformerBlock,
)


class SwinTransformerV2Block(SwinTransformerBlock):
    """Swin's block with the norms behind attention and MLP; timm's class.

    Args:
        pretrained_window_size: Height and width of the window in pre-training; 0 for
            those of `window_size`.
        **kwargs: those of `SwinTransformerBlock`, but `head_dim`.
    """

    def __init__(self, *, pretrained_window_size: int | tuple[int, int] = 0, **kwargs):
        super().__init__(**kwargs)
        self.pretrained_window_size = pair(pretrained_window_size)

    def call(self, x: tf.Tensor, training: bool = False) -> tf.Tensor:
        H, W, C = sizes(x, 1, 2, 3)
        y = self.norm1(self._attn(x, training=training))
        x = x + self.drop_path1(y, training=training)
        x = tf.reshape(x, (-1, H * W, C))
        y = self.norm2(self.mlp(x, training=training))
        x = x + self.drop_path2(y, training=training)
        return tf.reshape(x, (-1, H, W, C))

    def _norm(self, name: str) -> keras.layers.Layer:
        return LayerNorm(  # a branch starts as nothing
            eps=1e-5, weight_init=0.0, dtype=self.variable_dtype, name=name
        )

    def _window_attention(self, name: str) -> keras.layers.Layer:
        return WindowAttentionV2(
            num_heads=self.num_heads,
            window_size=self.window_size,
            pretrained_window_size=self.pretrained_window_size,
            qkv_bias=self.qkv_bias,
            attn_drop=self.attn_drop,
            proj_drop=self.proj_drop,
            dtype=self.dtype_policy,
            name=name,
        )


@keras.saving.register_keras_serializable(package="vit_tf")
class SwinTransformerV2(ShiftedWindowTransformer):
    """timm's `SwinTransformerV2`, with its argument names and defaults.

    Args:
        pretrained_window_sizes: For each stage, height and width of the window in
            pre-training, in tokens; 0 for those of `window_size`.
        **kwargs: those of `ShiftedWindowTransformer`.

    Raises:
        ValueError: if a stage has none.
    """

    def __init__(
        self,
        *,
        pretrained_window_sizes: tuple[int | tuple[int, int], ...] = (0, 0, 0, 0),
        **kwargs,
    ):
        super().__init__(**kwargs)
        self.pretrained_window_sizes = tuple(pretrained_window_sizes)
        if len(self.pretrained_window_sizes) < len(self.depths):
            raise ValueError(
                f"pretrained_window_sizes={pretrained_window_sizes}: expected one for "
                f"each of {len(self.depths)} stages"
            )

    def get_config(self) -> dict:
        sizes = self.pretrained_window_sizes
        return {**super().get_config(), "pretrained_window_sizes": sizes}

    def _block(self, stage: int) -> Callable[..., keras.layers.Layer]:
        return functools.partial(
            SwinTransformerV2Block,
            pretrained_window_size=self.pretrained_window_sizes[stage],
            **self._block_arguments(stage),
        )

    def _downsample(self, stage: int) -> Callable[..., keras.layers.Layer]:
        return functools.partial(PatchMergingV2, self.embed_dim * 2**stage)
