"""A checkpoint's first convolution, for images of other channels."""

import numpy as np


def adapt_input_conv(in_chans: int, weight: np.ndarray) -> np.ndarray:
    """timm's function in `models/_manipulate.py`.

    One channel gets the sum of all. More, or others, get the channels in turn, so
    scaled that the sum over equal channels stays what it was.

    Args:
        in_chans: Number of channels wanted.
        weight: (out, in, height, width).

    Returns:
        (out, in_chans, height, width), of the same dtype; computed in float32, as in
        timm.

    Raises:
        ValueError: if `in_chans` is not 1 or more.
    """
    if in_chans < 1:
        raise ValueError(f"in_chans={in_chans}: expected 1 or more")
    found = weight.shape[1]
    if in_chans == found:
        return weight
    kernel = weight.astype(np.float32)
    if in_chans == 1:
        adapted = kernel.sum(axis=1, keepdims=True)
    else:
        adapted = kernel[:, np.arange(in_chans) % found]
        adapted *= np.float32(found / in_chans)
    return adapted.astype(weight.dtype)
