"""Swin's attention within windows, folded back onto the image."""

import keras
import numpy as np

from vit_tf.explain.probabilities import as_images, by_block, run
from vit_tf.explain.query import patch_index

PADDING = -1  # in place of a token's index


def window_attention_maps(
    model: keras.Model,
    images: np.ndarray,
    stage: int = -1,
    block: int = -1,
    *,
    query: tuple[int, int] | None = None,
) -> np.ndarray:
    """A block's attention, head by head, as images of its stage's tokens.

    "Swin Transformer" (https://arxiv.org/abs/2103.14030), section 3.2 and figure 4: the
    feature map is shifted, and cut into windows; here each token's value is put back
    to where the token is from. What was padded to fill the windows is left out, as a
    place that is asked and as one that asks.

    Args:
        model: A SwinTransformer or SwinTransformerV2.
        images: (B, height, width, in_chans) preprocessed images.
        stage: Which stage; negative ones count from the end.
        block: Which of its blocks; those with odd numbers shift their windows, where
            the feature map is larger than a window.
        query: The token, as (row, column) on the stage's grid, whose attention is
            shown: zero outside its window. None for what each token receives from all
            tokens of its window, which is one where attention is even.

    Returns:
        (B, heads, H, W), H x W tokens.

    Raises:
        ValueError: if the model has no windows, or no such stage, block or token.
    """
    chosen = _block(model, stage, block)
    passed = run(model, as_images(model, images))
    heads = by_block(model, passed.probabilities)[_name(model, stage, block)]
    grid = passed.grids[stage]
    places = window_places(grid, chosen.window_size, chosen.shift_size)
    count, area = places.shape
    heads = heads.reshape(-1, count, heads.shape[1], area, area)
    asking = places != PADDING  # (windows, N)
    if query is not None:
        asking = places == patch_index(query, grid)
    received = np.einsum("bwhqk,wq->bhwk", heads, asking)
    found = np.zeros((*received.shape[:2], grid[0] * grid[1]), heads.dtype)
    found[:, :, places[places != PADDING]] = received[:, :, places != PADDING]
    return found.reshape(*found.shape[:2], *grid)


def window_places(
    grid: tuple[int, int], window_size: tuple[int, int], shift_size: tuple[int, int]
) -> np.ndarray:
    """Which token of a feature map is where in its windows.

    As timm does it: the map is rolled first, and then padded below and on the right.

    Returns:
        (windows, N) indices into the tokens, row by row; -1 for padding.
    """
    index = np.arange(grid[0] * grid[1]).reshape(grid)
    index = np.roll(index, [-shift for shift in shift_size], axis=(0, 1))
    pads = [(0, -size % w) for size, w in zip(grid, window_size, strict=True)]
    index = np.pad(index, pads, constant_values=PADDING)
    (height, width), (H, W) = window_size, index.shape
    index = index.reshape(H // height, height, W // width, width)
    return index.transpose(0, 2, 1, 3).reshape(-1, height * width)


def _block(model: keras.Model, stage: int, block: int) -> keras.layers.Layer:
    if not hasattr(model, "stages"):
        raise ValueError(
            f"{type(model).__name__} found, whose attention is not within windows; "
            "expected: a SwinTransformer or SwinTransformerV2 (attention_maps is for "
            "the others)"
        )
    depths = model.depths
    stages = range(-len(depths), len(depths))
    if stage not in stages or block not in range(-depths[stage], depths[stage]):
        raise ValueError(
            f"stage={stage}, block={block}: expected one of {len(depths)} stages, of "
            f"{depths} blocks"
        )
    return model.stages[stage].blocks[block]


def _name(model: keras.Model, stage: int, block: int) -> str:
    chosen = model.stages[stage]
    return f"{chosen.name}.{chosen.blocks[block].name}"
