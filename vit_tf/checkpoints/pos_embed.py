"""A checkpoint's position embedding, for another grid of patches."""

import math

import numpy as np

from vit_tf import bicubic


def resample_abs_pos_embed(
    pos_embed: np.ndarray,
    new_size: tuple[int, int],
    old_size: tuple[int, int] | None = None,
    num_prefix_tokens: int = 1,
) -> np.ndarray:
    """What timm does when it loads weights; its function in `layers/pos_embed.py`.

    The interpolation is bicubic, filtered where the grid becomes smaller, in float32.

    Args:
        pos_embed: (1, num_prefix_tokens + height * width, C).
        new_size: Height and width of the grid wanted, in patches.
        old_size: Those of the grid that `pos_embed` is for; None if it is square.
        num_prefix_tokens: Leading tokens without a place in the grid: they stay.

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
    if tuple(old_size) == tuple(new_size):
        return pos_embed
    prefix, grid = pos_embed[:, :num_prefix_tokens], pos_embed[:, num_prefix_tokens:]
    rows, columns = (
        bicubic.weights(old, new, dtype="float32")
        for old, new in zip(old_size, new_size, strict=True)
    )
    grid = grid.astype(np.float32).reshape(*old_size, width)  # (1, N, C) -> (H, W, C)
    grid = np.einsum("yh,xw,hwc->yxc", rows, columns, grid, optimize=True)
    grid = grid.reshape(1, -1, width).astype(pos_embed.dtype)
    return np.concatenate([prefix, grid], axis=1)
