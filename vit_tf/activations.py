"""The output of any layer, by its timm name.

Models have no debugging outputs. Their layers are watched instead: while a model runs,
each layer's `call` hands its output to an observer. The same mechanism serves parity
checks, feature extraction and attention maps (`blocks.0.attn.attn_drop`).
"""

import contextlib
import difflib
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from vit_tf.layers.module import Module
from vit_tf.layers.sequential import Sequential
from vit_tf.mapping import named_layers
from vit_tf.parity import LOGITS


@contextlib.contextmanager
def watch(
    model: keras.Model,
    observe: Callable[[str, tf.Tensor], None],
    watched_name: Callable[[str], bool] = lambda name: True,
) -> Iterator[None]:
    """Within it, every layer that runs hands its output to `observe(name, output)`.

    A block computes on tokens as rows, (B*N, C); what its layers hand out has its
    axes back, (B, N, C), as in timm (`Module.with_timm_axes`). Layers that compute
    nothing are left out.

    Args:
        model: A built model, or a layer of one.
        observe: What is called.
        watched_name: Which layers are watched, by name; all by default.
    """
    # Layers and their inputs: of all, as the one that calls another knows its axes.
    running: list[tuple[keras.layers.Layer, tf.Tensor]] = []

    def watched(name: str, layer: keras.layers.Layer) -> Callable[..., Any]:
        call, observed = layer.call, watched_name(name)

        def call_and_observe(x, *args, **kwargs):
            running.append((layer, x))
            try:
                output = call(x, *args, **kwargs)
            finally:
                running.pop()
            if observed:
                observe(name, _with_timm_axes(layer, output, running))
            return output

        return call_and_observe

    calls = {layer: watched(name, layer) for name, layer in _computing(model).items()}
    with replaced_calls(calls):
        yield


@contextlib.contextmanager
def replaced_calls(
    calls: Mapping[keras.layers.Layer, Callable[..., Any]],
) -> Iterator[None]:
    """Within it, each layer computes by the function given for it."""
    before = {layer: vars(layer).get("call") for layer in calls}
    try:
        for layer, call in calls.items():
            object.__setattr__(layer, "call", call)
        yield
    finally:
        for layer, call in before.items():
            if call is None:
                vars(layer).pop("call", None)
            else:
                object.__setattr__(layer, "call", call)


def record(
    model: keras.Model,
    images: np.ndarray,
    each: Callable[[str, np.ndarray], Any] = lambda name, output: output.copy(),
) -> dict[str, Any]:
    """What every layer gives for `images`, by timm's name, in inference.

    Args:
        model: A built model.
        images: (B, height, width, in_chans) preprocessed images.
        each: What to keep of an output, given its name and the array, TensorFlow's own,
            to be read; by default a copy. For a large model that is a gigabyte for two
            images.

    Returns:
        name -> output; the model's own under "logits".
    """
    outputs: dict[str, Any] = {}

    def observe(name: str, output: tf.Tensor) -> None:
        outputs[name] = each(name, np.asarray(output))

    with watch(model, observe):
        model(tf.convert_to_tensor(images, model.input_dtype), training=False)
    return outputs


def outputs(
    model: keras.Model, names: Iterable[str]
) -> Callable[[tf.Tensor], dict[str, tf.Tensor]]:
    """A function from images to the outputs of the named layers.

    It runs eagerly, inside a `tf.function`, and under a gradient tape.

    Args:
        model: A built model.
        names: timm's module names, e.g. "blocks.11.attn.attn_drop" for the attention
            probabilities (B, heads, N, N) of the last block; "logits" for the model.

    Raises:
        KeyError: if the model has no such layer, naming the closest.
    """
    wanted = [names] if isinstance(names, str) else list(names)
    known = list(_computing(model))
    unknown = [name for name in wanted if name not in known]
    if unknown:
        close = {name: difflib.get_close_matches(name, known, 3) for name in unknown}
        raise KeyError(f"{model.name} has no layer of these names; closest: {close}")

    def call(images: tf.Tensor) -> dict[str, tf.Tensor]:
        found: dict[str, tf.Tensor] = {}

        def observe(name: str, output: tf.Tensor) -> None:
            if name in wanted:
                found[name] = output

        with watch(model, observe):
            model(images, training=False)
        return {name: found[name] for name in wanted}

    return call


def _computing(model: keras.Model) -> dict[str, keras.layers.Layer]:
    """The layers that can be watched, by name: the others compute nothing."""
    return {
        name or LOGITS: layer
        for layer, name in named_layers(model)
        if not isinstance(layer, Sequential)
    }


def _with_timm_axes(
    layer: keras.layers.Layer,
    output: tf.Tensor,
    running: list[tuple[keras.layers.Layer, tf.Tensor]],
) -> tf.Tensor:
    """A layer's output as timm has it, which the layer that called it knows."""
    caller, x = running[-1] if running else (None, None)
    if not isinstance(caller, Module):
        return output
    return caller.with_timm_axes(layer.name, output, x)
