"""Where each head of a block looks."""

import keras
import numpy as np

from vit_tf.explain.probabilities import self_attention
from vit_tf.explain.query import Query, attention_of


def attention_maps(
    model: keras.Model, images: np.ndarray, block: int = -1, *, query: Query = "class"
) -> np.ndarray:
    """A block's attention, head by head, as images of the patches.

    What DINO shows (https://arxiv.org/abs/2104.14294, figures 1 and 3): the attention
    of the class token to the patches. The attention to prefix tokens (class,
    distillation, registers) is left out, so that a map's sum is what remains of one.

    Differential attention has two maps for each head, which come one behind the other;
    attentions side by side (`ParallelThingsBlock`) come one behind the other, too.

    Args:
        model: A VisionTransformer, distilled or hybrid, or a Cait: of that the blocks
            of the patch tokens, which have no class token (`class_attention_maps` is
            for those that have).
        images: (B, height, width, in_chans) preprocessed images.
        block: Which block; negative ones count from the end.
        query: Whose attention: "class", "distillation"; the "mean" of all patches; or
            a patch, as (row, column) on the grid.

    Returns:
        (B, heads, H, W), H x W patches.

    Raises:
        ValueError: if the model has no such block or query, or its attention is within
            windows (`window_attention_maps` is for those).
    """
    blocks, grid = self_attention(model, images, "attention_maps")
    if not -len(blocks) <= block < len(blocks):
        raise ValueError(f"block={block} found, one of {len(blocks)} blocks expected")
    return attention_of(query, blocks[block], model, grid)
