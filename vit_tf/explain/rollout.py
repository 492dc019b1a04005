"""Attention rollout: attention followed through all blocks."""

import keras
import numpy as np

from vit_tf.explain.probabilities import check_weights_of_means, self_attention
from vit_tf.explain.query import Query, attention_of

FUSIONS = {"mean": np.mean, "max": np.max, "min": np.min}
RESIDUAL = 0.5  # the share of a token's own value: of the residual connection


def attention_rollout(
    model: keras.Model,
    images: np.ndarray,
    *,
    head_fusion: str = "mean",
    discard_ratio: float = 0.0,
    query: Query = "class",
) -> np.ndarray:
    """How much of each patch reaches a token behind the last block.

    "Quantifying Attention Flow in Transformers" (https://arxiv.org/abs/2005.00928),
    section 3: with A = 0.5 W + 0.5 I for a block's attention W, the mean of its heads,
    the rollout of L blocks is A_L ... A_2 A_1, rows of each A made to sum to one.

    The other fusions and `discard_ratio` are those of jacobgil's vit-explain. Its code
    discards in the first image of a batch only, and divides columns by the rows' sums;
    here each image and each row has its own.

    Args:
        model: A VisionTransformer, distilled or hybrid.
        images: (B, height, width, in_chans) preprocessed images.
        head_fusion: What becomes of the heads: their "mean", "max" or "min".
        discard_ratio: The share of a block's fused attention, the smallest first, that
            is set to zero for each image; never the first token's to itself.
        query: Whose tokens it reaches: see `attention_maps`.

    Returns:
        (B, H, W), H x W patches; with what comes from prefix tokens, the sum is one.

    Raises:
        ValueError: if an argument is none of those, or for a model whose heads are
            mixed or subtracted behind the softmax (CaiT, differential attention), or
            whose attention is within windows.
    """
    if head_fusion not in FUSIONS:
        raise ValueError(
            f"head_fusion={head_fusion!r}: expected one of {list(FUSIONS)}"
        )
    if not 0 <= discard_ratio < 1:
        raise ValueError(f"discard_ratio={discard_ratio}: expected 0 or more, below 1")
    check_weights_of_means(model, "attention_rollout")
    blocks, grid = self_attention(model, images, "attention_rollout")
    identity = np.eye(blocks[0].shape[-1], dtype=blocks[0].dtype)
    rollout = identity
    for heads in blocks:
        attention = _discarded(FUSIONS[head_fusion](heads, axis=1), discard_ratio)
        mixed = (1 - RESIDUAL) * attention + RESIDUAL * identity  # (B, N, N)
        rollout = mixed / mixed.sum(axis=-1, keepdims=True) @ rollout
    return attention_of(query, rollout, model, grid)


def _discarded(attention: np.ndarray, ratio: float) -> np.ndarray:
    """(B, N, N), with the smallest entries of each image as zeros."""
    flat = attention.reshape(len(attention), -1)  # a view where `attention` is whole
    count = int(flat.shape[1] * ratio)
    smallest = np.argsort(flat, axis=1, kind="stable")[:, :count]
    kept = np.ones_like(flat)
    np.put_along_axis(kept, smallest, 0, axis=1)
    kept[:, 0] = 1
    return (flat * kept).reshape(attention.shape)
