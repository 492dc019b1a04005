"""What a Swin computes from sizes alone, and files hold nevertheless."""

import ml_dtypes
import numpy as np

Size = tuple[int, int]  # height, width

MASKED = -100.0


def relative_position_index(window: Size) -> np.ndarray:
    """Which row of the table of biases is that of two tokens of a window: (N, N)."""
    rows, columns = (index.ravel() for index in np.indices(window))
    down = rows[:, None] - rows + window[0] - 1
    right = columns[:, None] - columns + window[1] - 1
    return down * (2 * window[1] - 1) + right


def relative_coords_table(window: Size, pretrained_window: Size) -> np.ndarray:
    """Swin V2's log-spaced coordinates, (1, 2h - 1, 2w - 1, 2) float64.

    Args:
        window: Height and width, in tokens.
        pretrained_window: Those that the distances are relative to.
    """
    axes = []
    for size, scale in zip(window, pretrained_window, strict=True):
        distance = 8 * np.arange(1 - size, size) / max(scale - 1, 1)
        axes.append(np.sign(distance) * np.log2(1 + np.abs(distance)) / 3)
    return np.stack(np.meshgrid(*axes, indexing="ij"), axis=-1)[None]


def attention_mask(resolution: Size, window: Size) -> np.ndarray:
    """What keeps the parts of windows shifted by half their size apart.

    Args:
        resolution: Height and width of the feature map, whole windows.
        window: Those of a window.

    Returns:
        (number of windows, N, N), 0 or -100.
    """
    parts = []
    for size, side in zip(resolution, window, strict=True):
        index = np.arange(size)
        part = (index >= size - side).astype(int) + (index >= size - side // 2)
        parts.append(part.reshape(-1, side))  # (windows along the axis, side)
    down, right = parts
    part = 3 * down[:, None, :, None] + right[None, :, None, :]
    part = part.reshape(-1, window[0] * window[1])  # (windows, N)
    return np.where(part[:, :, None] == part[:, None], 0.0, MASKED)


def window_of_coords(table: np.ndarray) -> Size:
    """The window that a table of relative coordinates is for."""
    return (table.shape[1] + 1) // 2, (table.shape[2] + 1) // 2


def pretrained_window_of_coords(table: np.ndarray) -> Size:
    """The window that its distances are relative to."""
    sizes = []
    for size, largest in zip(window_of_coords(table), table[0, -1, -1], strict=True):
        distance = 2 ** (3 * float(largest)) - 1  # 8 * (size - 1) / (pretrained - 1)
        sizes.append(round(8 * (size - 1) / distance) + 1 if distance > 0 else size)
    return sizes[0], sizes[1]


def resolution_of_mask(mask: np.ndarray, window: Size) -> Size | None:
    """The feature map that a mask is for; None if it is no mask of such windows."""
    count = len(mask)
    for rows in range(1, count + 1):
        resolution = (rows * window[0], count // rows * window[1])
        if count % rows == 0 and equal(mask, attention_mask(resolution, window)):
            return resolution
    return None


def equal(found: np.ndarray, expected: np.ndarray) -> bool:
    """Whether a buffer holds what was computed, as far as float32 or its dtype can."""
    if found.shape != expected.shape:
        return False
    if found.dtype.kind in "iub":
        return np.array_equal(found, expected)
    dtypes = (found.dtype, np.float32)  # computed in float32, kept in its dtype
    rounding = 4 * max(float(ml_dtypes.finfo(dtype).eps) for dtype in dtypes)
    difference = np.abs(found.astype(np.float64) - expected)
    return bool(np.all(difference <= rounding * (1 + np.abs(expected))))
