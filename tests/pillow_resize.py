"""Pillow's resize written down plainly: two passes in fixed point, in either order."""

import math
from collections.abc import Callable

import numpy as np

BITS = 22


def resized(
    pixels: np.ndarray,
    size: tuple[int, int],
    interpolation: str,
    *,
    rows_first: bool,
    window: tuple[range, range] | None = None,
) -> np.ndarray:
    """A resized image, or a window of it.

    Args:
        pixels: (H, W, C) uint8.
        size: (height, width) of the whole resized image.
        interpolation: "bilinear", "bicubic" or "lanczos".
        rows_first: Whether the pass along the height comes first.
        window: The rows and the columns to compute.
    """
    window = window or (range(size[0]), range(size[1]))
    for axis in (0, 1) if rows_first else (1, 0):
        along = np.moveaxis(pixels, axis, 0)
        made = _pass(along, size[axis], window[axis], interpolation)
        pixels = np.moveaxis(made, 0, axis)
    return pixels


def rows_first(version: str, size: tuple[int, int], target: tuple[int, int]) -> bool:
    """The order that a version of Pillow takes."""
    (height, width), (rows, columns) = size, target
    if version == "9.5":
        return False
    if version == "12.2":
        return height > 100 * width and rows < height
    return height > rows and height - rows > 2 * (width - columns)


def _pass(pixels: np.ndarray, size: int, seen: range, interpolation: str) -> np.ndarray:
    """Along the first axis."""
    support, weigh = FILTERS[interpolation]
    scale = len(pixels) / size
    stretch = max(scale, 1.0)
    made = np.empty((len(seen), *pixels.shape[1:]), np.uint8)
    for at in seen:
        center = (at + 0.5) * scale
        low = max(int(center - support * stretch + 0.5), 0)
        high = min(int(center + support * stretch + 0.5), len(pixels))
        weights = [
            weigh(((low + j) - center + 0.5) * (1.0 / stretch))
            for j in range(high - low)
        ]
        total = 0.0
        for weight in weights:
            total += weight
        fixed = [_rounded(weight / total * 2**BITS) for weight in weights]
        sums = np.tensordot(fixed, pixels[low:high].astype(np.int64), 1)
        made[at - seen.start] = np.clip((sums + 2 ** (BITS - 1)) >> BITS, 0, 255)
    return made


def _rounded(x: float) -> int:
    return int(x - 0.5) if x < 0 else int(x + 0.5)


def _bilinear(x: float) -> float:
    return max(1.0 - abs(x), 0.0)


def _bicubic(x: float) -> float:
    x = abs(x)
    if x < 1:
        return (1.5 * x - 2.5) * x * x + 1
    return (((x - 5) * x + 8) * x - 4) * -0.5 if x < 2 else 0.0


def _lanczos(x: float) -> float:
    return _sinc(x) * _sinc(x / 3) if -3 <= x < 3 else 0.0


def _sinc(x: float) -> float:
    return math.sin(x * math.pi) / (x * math.pi) if x else 1.0


FILTERS: dict[str, tuple[float, Callable[[float], float]]] = {
    "bilinear": (1.0, _bilinear),
    "bicubic": (2.0, _bicubic),
    "lanczos": (3.0, _lanczos),
}
