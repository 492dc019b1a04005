"""Self-attention within windows by cosine, its position bias computed by an MLP."""

import math

import keras
import numpy as np
import tensorflow as tf
from keras import ops

from vit_tf.layers.initializers import Normal
from vit_tf.layers.inverse_length import inverse_length
from vit_tf.layers.window_attention import WindowAttention

MAX_LOGIT_SCALE = math.log(100)


class WindowAttentionV2(WindowAttention):
    """https://arxiv.org/abs/2111.09883; timm's `models/swin_transformer_v2.py`.

    The logits are cosines, times a learned scale for each head; the bias of a relative
    position is what a small network makes of its coordinates, so that a window of
    another size needs no other weights. The key has no bias.

    Args:
        pretrained_window_size: Height and width of the window in pre-training, which
            scale the coordinates; 0 for those of `window_size`.
        **kwargs: those of `WindowAttention`.
    """

    def __init__(self, *, pretrained_window_size: tuple[int, int] = (0, 0), **kwargs):
        super().__init__(**kwargs)
        self.pretrained_window_size = tuple(pretrained_window_size)

    def _build_bias(self) -> None:
        dtype, hidden = self.dtype_policy, 512
        self.relative_coords_table = relative_coords_table(
            self.window_size, self.pretrained_window_size
        )
        self.logit_scale = self.add_weight(
            name="logit_scale",
            shape=(self.num_heads, 1, 1),
            initializer=keras.initializers.Constant(math.log(10)),
        )
        self.cpb_mlp = [
            keras.layers.Dense(
                hidden, kernel_initializer=Normal(), dtype=dtype, name="cpb_mlp.0"
            ),
            keras.layers.Activation("relu", dtype=dtype, name="cpb_mlp.1"),
            keras.layers.Dense(
                self.num_heads, use_bias=False, kernel_initializer=Normal(),
                dtype=dtype, name="cpb_mlp.2",
            ),
        ]  # fmt: skip
        shape = self.relative_coords_table.shape
        for layer, width in zip(self.cpb_mlp, (2, hidden, hidden), strict=True):
            layer.build((*shape[:-1], width))

    def _build_qkv(self) -> None:
        self.qkv = keras.layers.Dense(
            3 * self.attn_dim,
            use_bias=False,
            kernel_initializer=Normal(),
            dtype=self.dtype_policy,
            name="qkv",
        )
        self.qkv.build((None, self.dim))
        if self.qkv_bias:
            self.q_bias, self.v_bias = (
                self.add_weight(name=name, shape=(self.attn_dim,), initializer="zeros")
                for name in ("q_bias", "v_bias")
            )

    def relative_position_bias(self) -> tf.Tensor:
        """(H, N, N), what is added to the attention of each pair of tokens."""
        x = ops.convert_to_tensor(self.relative_coords_table, self.compute_dtype)
        for layer in self.cpb_mlp:
            x = layer(x)  # (1, 2h - 1, 2w - 1, 2) -> (..., 512) -> (..., H)
        return self._between_tokens(16 * ops.sigmoid(tf.reshape(x, (-1, x.shape[-1]))))

    def _qkv(self, x: tf.Tensor) -> list[tf.Tensor]:
        x = tf.reshape(x, (-1, self.dim))
        if self.qkv_bias:  # timm adds the bias outside its module `qkv`
            zeros = ops.zeros_like(self.q_bias)
            bias = ops.concatenate([self.q_bias, zeros, self.v_bias])
            qkv = tf.nn.bias_add(ops.matmul(x, self.qkv.kernel), bias)
        else:
            qkv = self.qkv(x)
        q, k, v = self._heads(qkv)
        scale = ops.exp(ops.minimum(self.logit_scale, MAX_LOGIT_SCALE))  # (H, 1, 1)
        return [q * (inverse_length(q) * scale), k * inverse_length(k), v]


def relative_coords_table(
    window_size: tuple[int, int], pretrained_window_size: tuple[int, int] = (0, 0)
) -> np.ndarray:
    """Log-spaced coordinates of every relative position.

    `sign(x) * log2(1 + |8x|) / log2(8)`, where x is the distance in tokens divided by
    the largest in the pre-training's window (in this one, where that is 0). timm's
    table is rounded to float32 at each step, whatever the model's dtype: so is this.

    Returns:
        (1, 2 * height - 1, 2 * width - 1, 2) float32, vertical and horizontal.
    """
    scaled_by = pretrained_window_size if pretrained_window_size[0] else window_size
    axes = []
    for size, scale in zip(window_size, scaled_by, strict=True):
        distance = np.arange(1 - size, size, dtype=np.float32)
        distance = distance / np.float32(max(scale - 1, 1)) * 8
        logarithm = np.log2((np.abs(distance) + 1).astype(np.float64))
        axes.append(np.sign(distance) * logarithm.astype(np.float32) / np.float32(3))
    return np.stack(np.meshgrid(*axes, indexing="ij"), axis=-1)[None]
