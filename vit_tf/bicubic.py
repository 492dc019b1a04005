"""Bicubic interpolation along one axis, as torch does it (`align_corners=False`)."""

import functools
from types import ModuleType
from typing import Any

import numpy as np


@functools.lru_cache(maxsize=64)
def weights(
    old: int, new: int, antialias: bool = True, dtype: str = "float64"
) -> np.ndarray:
    """(new, old): what each old place contributes to each new one.

    Args:
        old: How many places there are.
        new: How many are wanted.
        antialias: Whether fewer places are filtered, not only sampled. As in torch,
            the filter is another cubic (a = -0.5) than the interpolation (-0.75).
        dtype: What they are computed in. torch computes them in that of the image:
            in "float32" they are as far from the exact ones as torch's.
    """
    kind = np.dtype(dtype).type
    return formula(np, kind(old), kind(new), antialias, dtype)


def formula(
    xp: ModuleType, old: Any, new: Any, antialias: bool, dtype: str = "float64"
) -> Any:
    """`weights` by the operations of `xp`: NumPy's, or those of a graph.

    Args:
        xp: The module that has them, by NumPy's names.
        old: As in `weights`, but a scalar of `dtype`.
        new: The same.
        antialias: As in `weights`.
        dtype: As in `weights`.
    """
    scale = old / new
    source = xp.arange(old, dtype=dtype)  # (old,) places, in pixels
    target = (xp.arange(new, dtype=dtype)[:, None] + 0.5) * scale - 0.5  # (new, 1)
    if antialias:
        cubic = _cubic(xp, (source - target) / xp.maximum(scale, 1.0), a=-0.5)
        return cubic / xp.sum(cubic, axis=1, keepdims=True)
    taps = xp.floor(target) + xp.arange(-1, 3, dtype=dtype)  # (new, 4)
    nearest = xp.clip(taps, 0.0, old - 1)[..., None]  # beyond the edge is the edge
    cubic = _cubic(xp, taps - target, a=-0.75)[..., None]
    return xp.sum(xp.where(nearest == source, cubic, 0.0), axis=1)


def _cubic(xp: ModuleType, x: Any, a: float) -> Any:
    """Keys' cubic convolution kernel (https://doi.org/10.1109/TASSP.1981.1163711)."""
    x = xp.abs(x)
    near = ((a + 2) * x - (a + 3)) * x * x + 1
    far = ((a * x - 5 * a) * x + 8 * a) * x - 4 * a
    return xp.where(x < 1, near, xp.where(x < 2, far, 0.0))
