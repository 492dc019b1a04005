"""How alike the position embeddings of patches are."""

import keras
import numpy as np


def pos_embed_similarity(model: keras.Model) -> np.ndarray:
    """The cosine similarity of each patch's position embedding with all others.

    "An Image is Worth 16x16 Words" (https://arxiv.org/abs/2010.11929), figure 7,
    centre. Prefix tokens are left out.

    Args:
        model: A VisionTransformer, distilled or hybrid, or a Cait.

    Returns:
        (H, W, H, W): [i, j] is an image of the similarities of the patch at row i and
        column j.

    Raises:
        ValueError: if the model has no position embedding of its patches.
    """
    weight = getattr(model, "pos_embed", None)
    if weight is None:
        raise ValueError(
            f"{type(model).__name__} found, which has no position embedding; expected: "
            'a VisionTransformer with pos_embed="learn", or a Cait'
        )
    grid = model.patch_embed.grid_size
    embedding = keras.ops.convert_to_numpy(weight)[0]  # (prefix + N, C)
    embedding = embedding[len(embedding) - grid[0] * grid[1] :]
    embedding = embedding / np.linalg.norm(embedding, axis=-1, keepdims=True)
    return (embedding @ embedding.T).reshape(*grid, *grid)
