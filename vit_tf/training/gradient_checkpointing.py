"""Blocks that are computed again in the backward pass, instead of being kept."""

from collections.abc import Callable

import keras
import tensorflow as tf


def set_grad_checkpointing(model: keras.Model, enable: bool = True) -> None:
    """timm's method of that name: memory for time, gradients the same.

    While training, of each block its input is kept, and what is inside is computed a
    second time when gradients are (https://arxiv.org/abs/1604.06174), by
    `tf.recompute_grad`. `keras.RematScope` does that to layers which are made within
    it; there, dropout drops something else the second time, and gradients are those of
    neither. Compile the model anew after.

    Args:
        model: A built model of vit_tf.
        enable: Whether blocks are computed again; False undoes it.
    """
    for block in _blocks(model):
        vars(block).pop("call", None)
        if enable:
            object.__setattr__(block, "call", _checkpointed(block))


def _blocks(model: keras.Model) -> list[keras.layers.Layer]:
    """As in timm: CaiT's blocks for the class token are kept."""
    if hasattr(model, "stages"):
        return [block for stage in model.stages for block in stage.blocks]
    return list(model.blocks)


def _checkpointed(block: keras.layers.Layer) -> Callable[..., tf.Tensor]:
    """The block's call, as a function of its input, its weights and its seeds.

    So that nothing is assigned twice, the states of what draws are read before, and
    set after.
    """
    call = block.call

    def checkpointed(x: tf.Tensor, training: bool = False) -> tf.Tensor:
        if not training:
            return call(x, training=training)
        weights = block.trainable_weights
        known = {id(weight) for weight in block.weights}
        seeds = [v for v in block.variables if id(v) not in known]
        before = [tf.identity(seed.value) for seed in seeds]
        after: list[tf.Tensor] = []

        @tf.recompute_grad
        def run(x, *values):
            pairs = [*zip(weights, values, strict=True)]
            pairs += zip(seeds, before, strict=True)
            with keras.StatelessScope(state_mapping=pairs) as scope:
                y = call(x, training=training)
            after.append([scope.get_current_value(seed) for seed in seeds])
            return y

        y = run(x, *(tf.convert_to_tensor(weight.value) for weight in weights))
        for seed, state in zip(seeds, after[0], strict=True):
            seed.assign(state)
        return y

    return checkpointed
