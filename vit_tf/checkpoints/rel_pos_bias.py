"""A table of relative position biases, resized for another window."""

import math

import numpy as np


def resize_rel_pos_bias_table(
    rel_pos_bias: np.ndarray,
    new_window_size: tuple[int, int],
    old_window_size: tuple[int, int] | None = None,
) -> np.ndarray:
    """What timm does to Swin's tables in `set_input_size`, and when loading weights.

    timm's function of this name in `layers/pos_embed_rel.py`: the old positions are
    spaced in geometric progression, dense in the middle, so that they reach as far as
    the new ones; between them it interpolates linearly.

    Args:
        rel_pos_bias: (P, H), a row for each of the `(2 * height - 1) * (2 * width - 1)`
            relative positions in a window.
        new_window_size: Height and width of the new window, in tokens.
        old_window_size: Those of the window that the table is for; None for a square.

    Returns:
        (P', H) of the same dtype; computed in float32, as in timm.

    Raises:
        ValueError: if the table is not one of the old window.
    """
    positions, num_heads = rel_pos_bias.shape
    if old_window_size is None:
        side = (math.isqrt(positions) + 1) // 2
        old_window_size = (side, side)
    old, new = (
        tuple(2 * size - 1 for size in window)
        for window in (old_window_size, new_window_size)
    )
    if positions != math.prod(old):
        raise ValueError(
            f"a table of {positions} relative positions given for a window of "
            f"{old_window_size[0]} x {old_window_size[1]}, which has {math.prod(old)}"
        )
    if old == new:
        return rel_pos_bias
    rows, columns = map(_interpolation, old, new)
    table = rel_pos_bias.astype(np.float32).reshape(*old, num_heads)
    resized = np.einsum("yi,xj,ijh->yxh", rows, columns, table)
    return resized.reshape(-1, num_heads).astype(rel_pos_bias.dtype)


def _interpolation(old: int, new: int) -> np.ndarray:
    """(new, old): what each old position contributes to each new one.

    Beyond the outermost old position, its value stays.
    """
    positions = _positions(old, new).astype(np.float32)
    wanted = np.arange(-(new // 2), new // 2 + 1, dtype=np.float32)
    identity = np.eye(old, dtype=np.float32)
    return np.stack([np.interp(wanted, positions, row) for row in identity], axis=1)


def _positions(old: int, new: int) -> np.ndarray:
    """Where the old positions lie on the axis of the new ones, symmetrically."""
    half = old // 2
    low, high = 1.01, 1.5  # bounds of the progression's ratio
    while high - low > 1e-6:
        ratio = (low + high) / 2
        if (1 - ratio**half) / (1 - ratio) > new // 2:
            high = ratio
        else:
            low = ratio
    # timm sums the powers of the last ratio tried, not of the interval that remains
    right = np.cumsum([0.0] + [ratio**i for i in range(half)])
    return np.concatenate([-right[:0:-1], right])
