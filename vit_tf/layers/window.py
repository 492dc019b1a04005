"""Windows: a feature map cut into rectangles, and put together again."""

import tensorflow as tf

from vit_tf.layers.sizes import sizes


def window_partition(x: tf.Tensor, window_size: tuple[int, int]) -> tf.Tensor:
    """The windows of a feature map; timm's function of the same name, flattened.

    Args:
        x: (B, H, W, C), height and width multiples of the window's.
        window_size: Height and width of a window, in tokens.

    Returns:
        (B*num_windows, N, C), N tokens a window, windows row by row.
    """
    height, width = window_size
    H, W, C = sizes(x, 1, 2, 3)
    x = tf.reshape(x, (-1, H // height, height, W // width, width, C))
    x = tf.transpose(x, (0, 1, 3, 2, 4, 5))  # (B, rows, columns, height, width, C)
    return tf.reshape(x, (-1, height * width, C))


def window_reverse(
    windows: tf.Tensor, window_size: tuple[int, int], size: tuple[int, int]
) -> tf.Tensor:
    """The inverse of `window_partition`: (B*num_windows, N, C) to (B, *size, C)."""
    (H, W), (height, width), C = size, window_size, windows.shape[-1]
    x = tf.reshape(windows, (-1, H // height, W // width, height, width, C))
    x = tf.transpose(x, (0, 1, 3, 2, 4, 5))  # (B, rows, height, columns, width, C)
    return tf.reshape(x, (-1, H, W, C))


def pad_to_windows(x: tf.Tensor, window_size: tuple[int, int]) -> tf.Tensor:
    """Zeros below and to the right of (B, H, W, C), up to multiples of the window."""
    H, W = sizes(x, 1, 2)
    height, width = window_size
    return pad(x, -H % height, -W % width)


def pad(x: tf.Tensor, below: int, right: int) -> tf.Tensor:
    """Zeros below and to the right of (B, H, W, C); sizes may be tensors."""
    if isinstance(below, int) and isinstance(right, int) and not below + right:
        return x
    return tf.pad(x, [[0, 0], [0, below], [0, right], [0, 0]])
