"""Attention weighted by the gradient of a class's score."""

from collections.abc import Sequence

import keras
import numpy as np
import tensorflow as tf

from vit_tf.explain.probabilities import as_images, by_block, check_no_windows, run
from vit_tf.explain.query import Query, attention_of


def gradient_attention(
    model: keras.Model,
    images: np.ndarray,
    classes: int | Sequence[int] | np.ndarray | None = None,
    *,
    query: Query = "class",
) -> np.ndarray:
    """How relevant each patch is to a class's score.

    Chefer, Gur and Wolf, "Generic Attention-model Explainability"
    (https://arxiv.org/abs/2103.15679), equations 5 and 6: with A a block's attention
    and dA the gradient of the score with respect to it, the relevance R of each token
    to each, from R = I, becomes in block after block

        R + mean_over_heads(max(dA * A, 0)) R.

    It is their rule for self-attention, which replaces the layer-wise propagation of
    "Transformer Interpretability Beyond Attention Visualization"
    (https://arxiv.org/abs/2012.09838). A CaiT's class attention is self-attention in
    which the class token alone asks: the other rows of its A are zero.

    Args:
        model: A VisionTransformer, distilled or hybrid, or a Cait, with classes.
        images: (B, height, width, in_chans) preprocessed images.
        classes: Of which class, one for all images or for each; None for the one that
            the model takes each image for.
        query: The token of which the relevance is shown, see `attention_maps`: the
            "class" token where the head reads it, the "mean" of all patches where it
            pools those.

    Returns:
        (B, H, W), H x W patches.

    Raises:
        ValueError: if there is no such class or query, the model gives no score for
            each class, or its attention is within windows.
    """
    check_no_windows(model, "gradient_attention")
    images = as_images(model, images)
    with tf.GradientTape() as tape:
        tape.watch(images)  # so that it follows a model whose weights are frozen, too
        passed = run(model, images)
        score = _score(model, passed.features, classes)
    names, tensors = zip(*passed.probabilities.items(), strict=True)
    zero = tf.UnconnectedGradients.ZERO
    found = tape.gradient(score, tensors, unconnected_gradients=zero)
    gradients = by_block(model, dict(zip(names, found, strict=True)))
    attention = by_block(model, passed.probabilities)
    tokens = max(heads.shape[-1] for heads in attention.values())
    relevance = np.eye(tokens, dtype=next(iter(attention.values())).dtype)
    for block, heads in attention.items():
        weighted = np.maximum(gradients[block] * heads, 0).mean(axis=1)
        relevance = relevance + _among_all(weighted, tokens) @ relevance
    return attention_of(query, relevance, model, passed.grids[0])


def _score(
    model: keras.Model,
    features: tf.Tensor,
    classes: int | Sequence[int] | np.ndarray | None,
) -> tf.Tensor:
    """The sum over images of the score of each one's class."""
    logits = model.forward_head(features)
    if not model.num_classes or len(logits.shape) != 2:
        raise ValueError(
            f"gradient_attention: {model.name} with num_classes={model.num_classes} "
            f"and global_pool={model.global_pool!r} found, which gives no score for "
            "each class; expected: a classifier"
        )
    if classes is None:
        classes = tf.argmax(logits, axis=-1)
    classes = np.asarray(classes)
    batch, num_classes = logits.shape
    if classes.ndim == 0:
        classes = np.repeat(classes, batch)
    if classes.shape != (batch,) or not np.isin(classes, range(num_classes)).all():
        raise ValueError(
            f"classes={classes.tolist()}: expected a class from 0 to "
            f"{num_classes - 1}, one for all or for each of {batch} images"
        )
    return tf.reduce_sum(tf.gather(logits, classes, batch_dims=1))


def _among_all(attention: np.ndarray, tokens: int) -> np.ndarray:
    """(B, Q, N) as (B, tokens, tokens), zeros where nothing is asked.

    In a CaiT the patches ask each other, which are the last of the tokens, and then
    the class token, which is the first, asks all.
    """
    queries, keys = attention.shape[1:]
    whole = np.zeros((len(attention), tokens, tokens), attention.dtype)
    first = 0 if keys == tokens else tokens - keys
    whole[:, first : first + queries, first:] = attention
    return whole
