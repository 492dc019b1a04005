"""Position embeddings resampled to another grid."""

import functools
import math
from types import ModuleType
from typing import Any

import keras
import numpy as np
import tensorflow as tf
from keras import ops


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
    grid = ops.reshape(grid, (1, *old_size, width))  # (1, N, C) -> (1, H, W, C)
    grid = resample(grid, new_size, antialias=antialias)
    grid = ops.reshape(grid, (1, new_size[0] * new_size[1], width))
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
    B, H, W, C = ops.shape(x)
    known = all(isinstance(size, int) for size in (H, W, *new_size))
    if known and tuple(new_size) == (H, W):
        return x
    dtype = keras.backend.result_type(x.dtype, "float32")
    rows = _weights(H, new_size[0], antialias, dtype)  # (H', H)
    columns = _weights(W, new_size[1], antialias, dtype)  # (W', W)
    y = ops.reshape(ops.cast(x, dtype), (B, H, W * C))
    y = ops.reshape(tf.matmul(rows, y), (B, new_size[0], W, C))  # (B, H', W, C)
    return ops.cast(tf.matmul(columns, y), x.dtype)  # (B, H', W', C)


def _weights(old: Any, new: Any, antialias: bool, dtype: str) -> tf.Tensor:
    if isinstance(old, int) and isinstance(new, int):
        return tf.constant(_known_weights(old, new, antialias), dtype)
    return ops.cast(_formula(ops, old, new, antialias), dtype)


@functools.lru_cache(maxsize=64)
def _known_weights(old: int, new: int, antialias: bool) -> np.ndarray:
    return _formula(np, old, new, antialias)


def _formula(xp: ModuleType, old: Any, new: Any, antialias: bool) -> Any:
    """(new, old) weights in float64, by NumPy or by Keras's operations."""
    if xp is ops:
        old, new = ops.cast(old, "float64"), ops.cast(new, "float64")
    scale = old / new
    source = xp.arange(old, dtype="float64")  # (old,) places, in pixels
    target = (xp.arange(new, dtype="float64")[:, None] + 0.5) * scale - 0.5  # (new, 1)
    if antialias:
        weights = _cubic(xp, (source - target) / xp.maximum(scale, 1.0), a=-0.5)
        return weights / xp.sum(weights, axis=1, keepdims=True)
    taps = xp.floor(target) + xp.arange(-1, 3, dtype="float64")  # (new, 4)
    nearest = xp.clip(taps, 0.0, old - 1)[..., None]  # beyond the edge is the edge
    weights = _cubic(xp, taps - target, a=-0.75)[..., None]
    return xp.sum(xp.where(nearest == source, weights, 0.0), axis=1)


def _cubic(xp: ModuleType, x: Any, a: float) -> Any:
    """Keys' cubic convolution kernel (https://doi.org/10.1109/TASSP.1981.1163711)."""
    x = xp.abs(x)
    near = ((a + 2) * x - (a + 3)) * x * x + 1
    far = ((a * x - 5 * a) * x + 8 * a) * x - 4 * a
    return xp.where(x < 1, near, xp.where(x < 2, far, 0.0))
