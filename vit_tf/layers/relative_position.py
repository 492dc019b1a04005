"""Relative positions of a window's tokens."""

import numpy as np
import tensorflow as tf


def relative_position_index(window_size: tuple[int, int]) -> tf.Tensor:
    """Where a table of relative positions holds what is between two tokens.

    timm's `get_relative_position_index`: rows of the table count
    `dy + height - 1`, columns `dx + width - 1`. So an index is a difference of two
    numbers, one of each token. In a graph it is a constant, computed once; what is
    saved is those numbers.

    Args:
        window_size: Height and width of the window, in tokens.

    Returns:
        (N, N) indices below `(2 * height - 1) * (2 * width - 1)`.
    """
    height, width = window_size
    y, x = np.divmod(np.arange(height * width, dtype=np.int32), width)
    number = y * (2 * width - 1) + x  # the last token's is that of no distance
    return tf.constant(number + number[-1])[:, None] - tf.constant(number)
