"""PatchMerging: four neighbouring tokens become one."""

import keras
import tensorflow as tf
from keras import ops

from vit_tf.layers.initializers import Normal
from vit_tf.layers.module import Module
from vit_tf.layers.norm import LayerNorm
from vit_tf.layers.sizes import sizes
from vit_tf.layers.window import pad


class PatchMerging(Module):
    """Swin's downsampling; timm's `models/swin_transformer.py`.

    An odd height or width is padded with zeros. In mixed precision only the reduction
    computes in half; its result is a precise one again, as blocks add to it.

    Args:
        out_dim: Width of the new tokens.
    """

    def __init__(self, out_dim: int, **kwargs):
        super().__init__(autocast=False, **kwargs)
        self.out_dim = out_dim

    def build(self, input_shape):
        self.dim = input_shape[-1]
        self.norm = LayerNorm(eps=1e-5, dtype=self.variable_dtype, name="norm")
        self.reduction = keras.layers.Dense(
            self.out_dim,
            use_bias=False,
            kernel_initializer=Normal(),
            dtype=self.dtype_policy,
            name="reduction",
        )
        self.norm.build((None, None, None, self._norm_dim()))
        self.reduction.build((None, None, None, 4 * self.dim))

    def call(self, x: tf.Tensor) -> tf.Tensor:
        return self._reduced(self.norm(self._merge(x)))

    def compute_output_shape(self, input_shape):
        batch, *sizes, _ = input_shape
        return (batch, *(size and (size + 1) // 2 for size in sizes), self.out_dim)

    def _norm_dim(self) -> int:
        return 4 * self.dim

    def _reduced(self, x: tf.Tensor) -> tf.Tensor:
        return ops.cast(self.reduction(x), self.variable_dtype)

    def _merge(self, x: tf.Tensor) -> tf.Tensor:
        """(B, H, W, C) to (B, H/2, W/2, 4C): x00, x10, x01, x11 (row, column)."""
        H, W, C = sizes(x, 1, 2, 3)
        x = pad(x, H % 2, W % 2)
        H, W = (H + 1) // 2, (W + 1) // 2
        x = tf.reshape(x, (-1, H, 2, W, 2, C))
        x = tf.transpose(x, (0, 1, 3, 4, 2, 5))
        return tf.reshape(x, (-1, H, W, 4 * C))


class PatchMergingV2(PatchMerging):
    """Swin V2's: the norm follows the reduction."""

    def call(self, x: tf.Tensor) -> tf.Tensor:
        return self.norm(self._reduced(self._merge(x)))

    def _norm_dim(self) -> int:
        return self.out_dim
