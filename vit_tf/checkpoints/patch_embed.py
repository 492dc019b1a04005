"""A checkpoint's patch embedding, for patches of another size."""

import numpy as np

from vit_tf import bicubic


def resample_patch_embed(weight: np.ndarray, new_size: tuple[int, int]) -> np.ndarray:
    """FlexiViT's resize; timm's function in `layers/patch_embed.py`.

    A kernel for larger patches that answers to a resized patch as the given one does to
    the patch itself (https://arxiv.org/abs/2212.08013, section 3.4): the pseudo-inverse
    of the resize. That of two axes is the product of each one's.

    Args:
        weight: (embed_dim, in_chans, height, width).
        new_size: Height and width of the patches wanted, in pixels.

    Returns:
        (embed_dim, in_chans, new height, new width), of the same dtype; computed in
        float32, as in timm.
    """
    old_size = weight.shape[-2:]
    if tuple(old_size) == tuple(new_size):
        return weight
    rows, columns = (  # (old, new)
        np.linalg.pinv(bicubic.weights(old, new)).astype(np.float32)
        for old, new in zip(old_size, new_size, strict=True)
    )
    kernel = weight.astype(np.float32)
    resized = np.einsum("oihw,hy,wx->oiyx", kernel, rows, columns, optimize=True)
    return resized.astype(weight.dtype)


def unflatten(weight: np.ndarray, patch_size: tuple[int, int]) -> np.ndarray:
    """A linear projection of flat patches, as timm's early models have, a convolution.

    Args:
        weight: (embed_dim, in_chans * height * width).
        patch_size: Height and width of a patch.

    Returns:
        (embed_dim, in_chans, height, width).

    Raises:
        ValueError: if a row is not a number of such patches.
    """
    if weight.shape[1] % (patch_size[0] * patch_size[1]):
        raise ValueError(
            f"a projection of {weight.shape[1]} numbers is not one of patches of "
            f"{patch_size[0]} x {patch_size[1]}"
        )
    return weight.reshape(len(weight), -1, *patch_size)
