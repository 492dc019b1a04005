"""Self-attention within windows, with a learned bias for each relative position."""

import keras
import numpy as np
import tensorflow as tf
from keras import ops

from vit_tf.layers.initializers import Normal
from vit_tf.layers.module import Module
from vit_tf.layers.relative_position import relative_position_index
from vit_tf.layers.shift_regions import masks_between
from vit_tf.layers.sizes import sizes


class WindowAttention(Module):
    """https://arxiv.org/abs/2103.14030; timm's `models/swin_transformer.py`.

    Called on windows, (B*num_windows, N, C). Inside, tokens are the rows of a matrix,
    as in `Attention`. In mixed precision, bias and softmax are in full.

    Args:
        num_heads: Number of heads.
        head_dim: Width of a head; None for the tokens' width divided by `num_heads`.
        window_size: Height and width of a window, in tokens.
        qkv_bias: Whether query, key and value have a bias.
        attn_drop: Dropout rate of the attention probabilities.
        proj_drop: Dropout rate of the output.

    Raises:
        ValueError: when built, if the width is not a multiple of `num_heads` and
            there is no `head_dim`.
    """

    def __init__(
        self,
        num_heads: int,
        head_dim: int | None = None,
        window_size: tuple[int, int] = (7, 7),
        qkv_bias: bool = True,
        attn_drop: float = 0.0,
        proj_drop: float = 0.0,
        **kwargs,
    ):
        super().__init__(**kwargs)
        self.num_heads = num_heads
        self.head_dim = head_dim
        self.window_size = tuple(window_size)
        self.qkv_bias = qkv_bias
        self.attn_drop_rate = attn_drop
        self.proj_drop_rate = proj_drop

    def build(self, input_shape):
        dim, dtype = input_shape[-1], self.dtype_policy
        if self.num_heads < 1 or (dim % self.num_heads and not self.head_dim):
            raise ValueError(
                f"a width of {dim} does not divide into {self.num_heads} heads"
            )
        head_dim = self.head_dim or dim // self.num_heads
        self.dim, self.attn_dim = dim, head_dim * self.num_heads
        self.scale = head_dim**-0.5
        self.window_area = self.window_size[0] * self.window_size[1]
        self._build_bias()
        self._build_qkv()
        self.softmax = keras.layers.Activation(
            tf.nn.softmax, dtype=self.variable_dtype, name="softmax"
        )
        self.attn_drop = keras.layers.Dropout(
            self.attn_drop_rate, dtype=dtype, name="attn_drop"
        )
        self.proj = keras.layers.Dense(
            dim, kernel_initializer=Normal(), dtype=dtype, name="proj"
        )
        self.proj_drop = keras.layers.Dropout(
            self.proj_drop_rate, dtype=dtype, name="proj_drop"
        )
        for layer in (self.softmax, self.attn_drop):
            layer.build((None, self.num_heads, self.window_area, self.window_area))
        self.proj.build((None, self.attn_dim))
        self.proj_drop.build((None, dim))

    def call(
        self,
        x: tf.Tensor,
        regions: np.ndarray | None = None,
        kinds: tf.Tensor | None = None,
        training: bool = False,
    ) -> tf.Tensor:
        """
        Args:
            x: (B*num_windows, N, C).
            regions: (K, N), for each kind of window the number of each token's part:
                tokens see those of their own. None if they see all.
            kinds: (num_windows,), each window's kind.
            training: Whether dropout drops.
        """
        N, H = self.window_area, self.num_heads
        q, k, v = self._qkv(x)  # each (B*num_windows, H, N, D)
        attn = tf.matmul(q, k, transpose_b=True)  # (B*num_windows, H, N, N)
        attn = ops.cast(attn, self.variable_dtype)
        bias = ops.cast(self.relative_position_bias(), attn.dtype)  # (H, N, N)
        if regions is None:
            attn = attn + bias
        else:
            bias = bias + masks_between(regions, bias.dtype)[:, None]  # (K, H, N, N)
            bias = tf.gather(bias, kinds)  # (num_windows, H, N, N)
            attn = tf.reshape(attn, (-1, *sizes(bias))) + bias
            attn = tf.reshape(attn, (-1, H, N, N))
        attn = self.attn_drop(self.softmax(attn), training=training)
        x = tf.transpose(tf.matmul(attn, v), (0, 2, 1, 3))  # (B*num_windows, N, H, D)
        x = self.proj(tf.reshape(x, (-1, self.attn_dim)))  # (B*num_windows*N, C)
        x = self.proj_drop(x, training=training)
        return tf.reshape(x, (-1, N, self.dim))

    def compute_output_shape(self, input_shape):
        return input_shape

    def _build_bias(self) -> None:
        height, width = self.window_size
        self.relative_position_bias_table = self.add_weight(
            name="relative_position_bias_table",
            shape=((2 * height - 1) * (2 * width - 1), self.num_heads),
            initializer=Normal(),
            autocast=False,
        )

    def _build_qkv(self) -> None:
        self.qkv = keras.layers.Dense(
            3 * self.attn_dim,
            use_bias=self.qkv_bias,
            kernel_initializer=Normal(),
            dtype=self.dtype_policy,
            name="qkv",
        )
        self.qkv.build((None, self.dim))

    def relative_position_bias(self) -> tf.Tensor:
        """(H, N, N), what is added to the attention of each pair of tokens."""
        return self._between_tokens(self.relative_position_bias_table)

    def _between_tokens(self, table: tf.Tensor) -> tf.Tensor:
        """A table of relative positions (P, H), as (H, N, N) for pairs of tokens."""
        table = tf.reshape(table, (-1, self.num_heads))  # its gradient is then dense
        bias = tf.gather(table, relative_position_index(self.window_size))  # (N, N, H)
        return tf.transpose(bias, (2, 0, 1))  # faster than gathering columns

    def _qkv(self, x: tf.Tensor) -> list[tf.Tensor]:
        qkv = self.qkv(tf.reshape(x, (-1, self.dim)))  # (B*num_windows*N, 3HD)
        q, k, v = self._heads(qkv)
        return [q * self.scale, k, v]

    def _heads(self, qkv: tf.Tensor) -> list[tf.Tensor]:
        """Rows (B*num_windows*N, 3HD) as three tensors (B*num_windows, H, N, D)."""
        D = self.attn_dim // self.num_heads
        qkv = tf.reshape(qkv, (-1, self.window_area, 3, self.num_heads, D))
        return tf.unstack(tf.transpose(qkv, (2, 0, 3, 1, 4)))
