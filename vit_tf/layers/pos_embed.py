"""Position embeddings resampled to another grid."""

import math
from typing import Any

import keras
import tensorflow as tf
from keras import ops

from vit_tf import bicubic
from vit_tf.layers.sizes import sizes


def resample_abs_pos_embed(
    pos_embed: tf.Tensor,
    new_size: tuple[int | tf.Tensor, int | tf.Tensor],
    old_size: tuple[int, int] | None = None,
    num_prefix_tokens: int = 1,
    *,
    antialias: bool = True,
) -> tf.Tensor:
    """A position embedding for another grid; timm's function in `layers/pos_embed.py`.

    timm interpolates in float32 whatever the dtype; here float64 stays float64.

    Args:
        pos_embed: (1, num_prefix_tokens + height * width, C).
        new_size: Height and width of the grid wanted, in patches, known or not yet.
        old_size: Those of the grid that `pos_embed` is for; None if it is square.
        num_prefix_tokens: Leading tokens without a place in the grid: they stay.
        antialias: Whether a smaller grid is filtered, not only sampled.

    Returns:
        (1, num_prefix_tokens + new height * new width, C), of the same dtype.

    Raises:
        ValueError: if `old_size` is not the grid of `pos_embed`.
    """
    count, width = pos_embed.shape[1] - num_prefix_tokens, pos_embed.shape[2]
    if old_size is None:
        old_size = (math.isqrt(count), math.isqrt(count))
    if old_size[0] * old_size[1] != count:
        raise ValueError(
            f"a position embedding of {count} patches is not for a grid of "
            f"{old_size[0]} x {old_size[1]}"
        )
    prefix, grid = pos_embed[:, :num_prefix_tokens], pos_embed[:, num_prefix_tokens:]
    grid = tf.reshape(grid, (1, *old_size, width))  # (1, N, C) -> (1, H, W, C)
    grid = resample(grid, new_size, antialias=antialias)
    grid = tf.reshape(grid, (1, new_size[0] * new_size[1], width))
    return ops.concatenate([prefix, grid], axis=1) if num_prefix_tokens else grid


def resample(
    x: tf.Tensor,
    new_size: tuple[int | tf.Tensor, int | tf.Tensor],
    *,
    antialias: bool = True,
) -> tf.Tensor:
    """Bicubic interpolation, as torch's `F.interpolate(align_corners=False)` does it.

    Each axis is a product with a small matrix of weights: NumPy's, made once, where the
    sizes are known, and the same formula in the graph where they are not. Half
    precision is interpolated in float32.

    Args:
        x: (B, height, width, C).
        new_size: Height and width wanted, known or scalar integer tensors.
        antialias: Whether a smaller grid is filtered, not only sampled. As in torch,
            the filter is another cubic (a = -0.5) than the interpolation (-0.75).

    Returns:
        (B, new height, new width, C), of the same dtype.
    """
    B, H, W, C = sizes(x)
    known = all(isinstance(size, int) for size in (H, W, *new_size))
    if known and tuple(new_size) == (H, W):
        return x
    dtype = keras.backend.result_type(x.dtype, "float32")
    rows = _weights(H, new_size[0], antialias, dtype)  # (H', H)
    columns = _weights(W, new_size[1], antialias, dtype)  # (W', W)
    y = tf.reshape(ops.cast(x, dtype), (B, H, W * C))
    y = tf.reshape(tf.matmul(rows, y), (B, new_size[0], W, C))  # (B, H', W, C)
    return ops.cast(tf.matmul(columns, y), x.dtype)  # (B, H', W', C)


def _weights(old: Any, new: Any, antialias: bool, dtype: str) -> tf.Tensor:
    if isinstance(old, int) and isinstance(new, int):
        return tf.constant(bicubic.weights(old, new, antialias), dtype)
    old, new = ops.cast(old, "float64"), ops.cast(new, "float64")
    return ops.cast(bicubic.formula(ops, old, new, antialias), dtype)
