"""How far, in pixels, each head looks."""

import keras
import numpy as np

from vit_tf.explain.probabilities import check_weights_of_means, self_attention


def mean_attention_distance(model: keras.Model, images: np.ndarray) -> np.ndarray:
    """The mean distance between a patch and those that it attends to.

    "An Image is Worth 16x16 Words" (https://arxiv.org/abs/2010.11929), appendix D.7 and
    figure 11 (7, right): for each patch, the distances to all others are averaged with
    its attention as the weights; then over all patches. As in probing-vits, attention
    to prefix tokens counts for nothing: it has no distance.

    Args:
        model: A VisionTransformer, distilled or hybrid.
        images: (B, height, width, in_chans) preprocessed images.

    Returns:
        (B, blocks, heads), in pixels.

    Raises:
        ValueError: for a model whose heads are mixed or subtracted behind the softmax
            (CaiT, differential attention), or whose attention is within windows.
    """
    check_weights_of_means(model, "mean_attention_distance")
    blocks, grid = self_attention(model, images, "mean_attention_distance")
    distances = _distances(grid, _token_size(model))
    prefix = blocks[0].shape[-1] - len(distances)
    means = [
        np.einsum("bhqk,qk->bh", heads[..., prefix:, prefix:], distances)
        / len(distances)
        for heads in blocks
    ]
    return np.stack(means, axis=1)


def _token_size(model: keras.Model) -> tuple[int, int]:
    """Pixels from a patch to the next, downwards and to the right."""
    embed = model.patch_embed
    ratio = getattr(
        embed, "feature_ratio", (1, 1)
    )  # a hybrid's patches are of features
    return tuple(a * b for a, b in zip(ratio, embed.patch_size, strict=True))


def _distances(grid: tuple[int, int], token_size: tuple[int, int]) -> np.ndarray:
    """(N, N) distances between the patches of a grid, row by row, in pixels."""
    places = np.indices(grid).reshape(2, -1).T * np.asarray(token_size)
    return np.linalg.norm(places[:, None] - places[None], axis=-1)
