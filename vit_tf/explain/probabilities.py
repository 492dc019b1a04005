"""The attention probabilities of every block, from one pass through a model."""

import dataclasses
import re
from collections.abc import Callable, Mapping
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from vit_tf.activations import replaced_calls
from vit_tf.layers.diff_attention import DiffAttention
from vit_tf.layers.parallel_block import DiffParallelScalingBlock
from vit_tf.layers.talking_head_attn import TalkingHeadAttn
from vit_tf.mapping import named_layers

PROBABILITIES = "attn_drop"  # timm's name of the layer that they pass through
_BLOCK = re.compile(r"((?:layers\.\d+\.)?blocks(?:_token_only)?\.\d+)\.")


@dataclasses.dataclass(frozen=True)
class Pass:
    """What one pass through a model gave.

    Attributes:
        probabilities: Of each attention, by its layer's name, as the model goes on
            with them: under a gradient tape, the score has a gradient for each.
        features: What the model's `forward_head` takes.
        grids: Of each block's feature map, or of each stage's, its height and width in
            tokens.
    """

    probabilities: Mapping[str, tf.Tensor]
    features: tf.Tensor
    grids: list[tuple[int, int]]


def run(model: keras.Model, images: tf.Tensor) -> Pass:
    """Runs a model as in inference, and keeps every attention's probabilities.

    Args:
        model: A built model.
        images: As `as_images` gives them.
    """
    found: dict[str, tf.Tensor] = {}
    calls = {
        layer: _kept(layer.call, name, found)
        for layer, name in named_layers(model)
        if name.endswith(f".{PROBABILITIES}") and _BLOCK.match(name)
    }
    with replaced_calls(calls):
        features, maps = model.forward_intermediates(images)
    return Pass(found, features, [tuple(x.shape[1:3]) for x in maps])


def by_block(
    model: keras.Model, tensors: Mapping[str, tf.Tensor]
) -> dict[str, np.ndarray]:
    """A pass's probabilities, or their gradients, as timm has them.

    Returns:
        block's name -> (B, heads, queries, tokens), in the order of the blocks. Where a
        block has attentions side by side, their heads are one behind the other.
    """
    layers = {name: layer for layer, name in named_layers(model)}
    blocks: dict[str, list[np.ndarray]] = {}
    for name, tensor in tensors.items():
        owner = layers[name.removesuffix(f".{PROBABILITIES}")]
        heads = owner.with_timm_axes(PROBABILITIES, tensor, tensor)
        blocks.setdefault(_BLOCK.match(name)[1], []).append(_as_array(heads))
    return {block: np.concatenate(heads, axis=1) for block, heads in blocks.items()}


def self_attention(
    model: keras.Model, images: np.ndarray, asked_by: str
) -> tuple[list[np.ndarray], tuple[int, int]]:
    """Every block's probabilities, and the height and width of the patch grid.

    Returns:
        (B, heads, N, N) for each block, and the grid. The class-attention blocks of a
        CaiT are not among them.

    Raises:
        ValueError: if the model's attention is within windows, which `asked_by`, a
            function's name, does not serve.
    """
    check_no_windows(model, asked_by)
    passed = run(model, as_images(model, images))
    blocks = by_block(model, passed.probabilities)
    found = [heads for name, heads in blocks.items() if name.startswith("blocks.")]
    return found, passed.grids[0]


def as_images(model: keras.Model, images: np.ndarray) -> tf.Tensor:
    """Images as the model takes them, (B, height, width, in_chans).

    Raises:
        ValueError: if they have other axes.
    """
    images = tf.convert_to_tensor(images, model.input_dtype)
    if len(images.shape) != 4:
        raise ValueError(
            f"images: shape {tuple(images.shape)} found, (B, height, width, "
            f"{model.in_chans}) expected"
        )
    return images


def check_no_windows(model: keras.Model, asked_by: str) -> None:
    """
    Raises:
        ValueError: if the model's attention is within windows.
    """
    if hasattr(model, "stages"):
        raise ValueError(
            f"{asked_by}: {type(model).__name__} found, whose attention is within "
            "windows; expected: a model whose blocks see all patches "
            "(window_attention_maps is for windows)"
        )


def check_weights_of_means(model: keras.Model, asked_by: str) -> None:
    """That each token's new value is a mean of all values, weighted by probabilities.

    Raises:
        ValueError: if heads are mixed, or one subtracted from another, after the
            softmax: such maps have negative entries, and rows that do not sum to one.
    """
    for layer, name in named_layers(model):
        if isinstance(
            layer, (TalkingHeadAttn, DiffAttention, DiffParallelScalingBlock)
        ):
            raise ValueError(
                f"{asked_by}: {name} is a {type(layer).__name__}, which mixes or "
                "subtracts attention maps behind the softmax; expected: attention "
                "whose maps are the weights of a mean"
            )


def _kept(
    call: Callable[..., tf.Tensor], name: str, found: dict[str, tf.Tensor]
) -> Callable[..., tf.Tensor]:
    def call_and_keep(*args: Any, **kwargs: Any) -> tf.Tensor:
        found[name] = call(*args, **kwargs)
        return found[name]

    return call_and_keep


def _as_array(x: tf.Tensor) -> np.ndarray:
    """Half precision as float32."""
    return tf.cast(x, keras.backend.result_type(x.dtype, "float32")).numpy()
