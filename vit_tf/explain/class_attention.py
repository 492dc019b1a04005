"""What the class token of a CaiT reads of the patches."""

import keras
import numpy as np

from vit_tf.explain.probabilities import as_images, by_block, run


def class_attention_maps(model: keras.Model, images: np.ndarray) -> np.ndarray:
    """The class token's attention in each class-attention block, head by head.

    "Going deeper with image transformers" (https://arxiv.org/abs/2103.17239), figure 6:
    a row for each class-attention layer, with its heads side by side.

    Args:
        model: A Cait.
        images: (B, height, width, in_chans) preprocessed images.

    Returns:
        (B, blocks, heads, H, W), H x W patches. The class token's attention to itself
        is left out, so that a map's sum is what remains of one.

    Raises:
        ValueError: for a model without class-attention blocks.
    """
    if not getattr(model, "blocks_token_only", None):
        raise ValueError(
            f"{type(model).__name__} found, which has no class-attention blocks; "
            "expected: a Cait (attention_maps is for tokens that attend to each other)"
        )
    passed = run(model, as_images(model, images))
    blocks = by_block(model, passed.probabilities)
    names = [block.name for block in model.blocks_token_only]
    heads = np.stack([blocks[name][:, :, 0, 1:] for name in names], axis=1)
    return heads.reshape(*heads.shape[:-1], *passed.grids[0])


def class_saliency(model: keras.Model, images: np.ndarray) -> np.ndarray:
    """Which regions a CaiT's class token focuses on.

    Figure 7 of the paper (see `class_attention_maps`): the response of the first
    class-attention layer. As in cait-tf, the mean over its heads.

    Args:
        model: A Cait.
        images: (B, height, width, in_chans) preprocessed images.

    Returns:
        (B, H, W), H x W patches.

    Raises:
        ValueError: for a model without class-attention blocks.
    """
    return class_attention_maps(model, images)[:, 0].mean(axis=1)
