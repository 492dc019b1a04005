"""Which tokens of a shifted window do not see each other."""

import numpy as np
import tensorflow as tf
from keras import ops

MASKED = -100.0  # timm's, added to the logits: nearly never, not minus infinity


def shift_regions(
    window_size: tuple[int, int], shift_size: tuple[int, int]
) -> np.ndarray:
    """From which part of a feature map, rolled by `shift_size`, a window's tokens are.

    After rolling, the windows at the lower and the right edge hold what was apart.
    timm's `get_attn_mask` numbers the parts of a whole map; windows are of four kinds,
    whatever its size: inner ones, those at the right edge, at the lower edge, and in
    the corner. `window_kinds` says which is which.

    Returns:
        (4, N), for each kind the number of each token's part.
    """
    rows, columns = np.meshgrid(*map(np.arange, window_size), indexing="ij")
    below, right = (
        (index.ravel() >= size - shift if shift else 0 * index.ravel()).astype(np.int32)
        for index, size, shift in zip(
            (rows, columns), window_size, shift_size, strict=True
        )
    )
    return np.stack([0 * below, right, 2 * below, 2 * below + right])


def window_kinds(rows: int, columns: int) -> tf.Tensor:
    """For each window, (rows * columns,), its kind: an index into `shift_regions`.

    Args:
        rows: Number of windows from top to bottom; may be a tensor.
        columns: Number of windows from left to right; may be a tensor.
    """
    return tf.reshape(2 * _is_last(rows)[:, None] + _is_last(columns), [-1])


def masks_between(regions: tf.Tensor, dtype: tf.DType) -> tf.Tensor:
    """What is added to attention logits, (K, N, N), so that parts do not mix.

    In a graph of which the regions are constants, so are the masks: they are computed
    once. What is saved is the regions, which are smaller by a factor of N.
    """
    apart = ops.not_equal(regions[:, :, None], regions[:, None])
    return tf.where(apart, tf.constant(MASKED, dtype), tf.constant(0, dtype))


def _is_last(count: int) -> np.ndarray | tf.Tensor:
    """(count,) zeros, and a one at the end."""
    if isinstance(count, int):
        return (np.arange(count, dtype=np.int32) + 1) // count
    return (tf.range(count) + 1) // count
