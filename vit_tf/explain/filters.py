"""What the projection of patches responds to."""

import keras
import numpy as np

from vit_tf.layers.patch_embed import PatchEmbed


def patch_filters(model: keras.Model, components: int | None = None) -> np.ndarray:
    """The filters of the patch projection, or their principal components.

    The filters themselves are what probing-vits plots. Their principal components, the
    first 28, are "An Image is Worth 16x16 Words" (https://arxiv.org/abs/2010.11929),
    figure 7, left: a small basis for what is within a patch.

    Args:
        model: A VisionTransformer, distilled or not, a Cait, or a Swin.
        components: How many principal components, of unit length, the first ones first,
            signed such that the largest entry is positive. None for the filters.

    Returns:
        (filters, height, width, in_chans), as large as a patch.

    Raises:
        ValueError: for a hybrid, whose projection does not see pixels; or if there are
            not as many components.
    """
    if not isinstance(model.patch_embed, PatchEmbed):
        raise ValueError(
            f"{type(model).__name__} found, whose projection is of a network's "
            "features; expected: a model whose projection is of pixels"
        )
    kernel = keras.ops.convert_to_numpy(model.patch_embed.proj.kernel)
    filters = kernel.transpose(3, 0, 1, 2)  # (h, w, in_chans, D) -> (D, h, w, in_chans)
    if components is None:
        return filters
    return _principal(filters, components)


def _principal(filters: np.ndarray, components: int) -> np.ndarray:
    rows = filters.reshape(len(filters), -1)
    most = min(rows.shape)
    if not 0 < components <= most:
        raise ValueError(
            f"components={components}: {len(rows)} filters of {rows.shape[1]} values "
            f"found, 1 to {most} expected"
        )
    _, _, directions = np.linalg.svd(rows - rows.mean(axis=0), full_matrices=False)
    directions = directions[:components]
    largest = np.abs(directions).argmax(axis=1)[:, None]
    signs = np.sign(np.take_along_axis(directions, largest, axis=1))
    return (directions * signs).reshape(components, *filters.shape[1:])
