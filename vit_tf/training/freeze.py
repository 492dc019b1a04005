"""Which parameters train, by timm's names.

timm has `freeze(model, submodules)` (timm/utils/model.py). Freeze before an optimizer
is made: it groups what trains.
"""

import difflib
from collections.abc import Callable, Sequence

import keras

from vit_tf.layers.batch_norm import BatchNorm2d
from vit_tf.layers.classifier import Classifier
from vit_tf.layers.norm import NORMS
from vit_tf.layers.norm_act import GroupNormAct
from vit_tf.mapping import entries, named_layers
from vit_tf.training.param_groups import layers_of

_NORMS = (*NORMS.values(), BatchNorm2d, GroupNormAct)


class UnknownNameError(ValueError):
    """A model has no parameter or module of that name. The message lists all such."""


def freeze(model: keras.Model, names: Sequence[str]) -> None:
    """What is named does not train any more; all else stays as it is.

    A BatchNorm that is frozen keeps its statistics as well, as timm's `freeze` has it.
    A model keeps what is frozen while it lives, not in files; as in torch.

    Args:
        model: A built model of vit_tf.
        names: timm's names of parameters ("pos_embed") or of modules ("blocks.0",
            which stands for all in it).

    Raises:
        UnknownNameError: if there is no such parameter or module; nothing is frozen.
    """
    chosen = _chosen(model, names)
    for entry in entries(model):
        if entry.name in chosen:
            entry.weight.trainable = False
    for layer, _ in named_layers(model):
        if isinstance(layer, BatchNorm2d) and not layer.trainable_variables:
            layer.trainable = False


def train_only(model: keras.Model, names: Sequence[str]) -> None:
    """What is named stays as it is; all else does not train any more.

    Args:
        model: A built model of vit_tf.
        names: As in `freeze`.

    Raises:
        UnknownNameError: if there is no such parameter or module; nothing is frozen.
    """
    chosen = _chosen(model, names)
    freeze(model, [e.name for e in entries(model) if e.name not in chosen])


def layers_below(model: keras.Model, layer: int) -> list[str]:
    """The parameters of the layers before `layer`, as `layers_of` counts them.

    `freeze(model, layers_below(model, 1 + n))` freezes the stem and n blocks.

    Raises:
        ValueError: if there is no such layer.
    """
    layers = layers_of(model)
    last = max(layers.values())
    if not 0 <= layer <= last:
        raise ValueError(f"layer={layer}: {model.name} has 0 to {last}")
    return [name for name, of in layers.items() if of < layer]


def head(model: keras.Model) -> list[str]:
    """The parameters of what gives logits: those of both heads, if there are two.

    Raises:
        ValueError: if the model has no classifier.
    """
    return _within(model, lambda layer, name: isinstance(layer, Classifier), "head")


def norms(model: keras.Model) -> list[str]:
    """The parameters of all norms.

    Raises:
        ValueError: if there is none.
    """
    return _within(model, lambda layer, name: isinstance(layer, _NORMS), "norm")


def attention(model: keras.Model) -> list[str]:
    """The parameters of attention, which suffice for fine-tuning.

    Touvron et al., "Three things everyone should know about Vision Transformers"
    (https://arxiv.org/abs/2203.09795), train them and the new head.

    Raises:
        ValueError: if the model has none of its own: a ParallelScalingBlock's is one
            with its MLP.
    """
    return _within(model, lambda layer, name: name.endswith("attn"), "attention")


def _within(
    model: keras.Model, wanted: Callable[[keras.layers.Layer, str], bool], what: str
) -> list[str]:
    """The parameters of the layers that are wanted."""
    modules = [n for layer, n in named_layers(model) if n and wanted(layer, n)]
    found = _chosen(model, modules)
    if not found:
        raise ValueError(f"{model.name} has no {what} with parameters of its own")
    return [entry.name for entry in entries(model) if entry.name in found]


def _chosen(model: keras.Model, names: Sequence[str]) -> set[str]:
    """The parameters that are named, themselves or by a module."""
    parameters = [entry.name for entry in entries(model)]
    modules = {name for _, name in named_layers(model)} - {""}
    known = modules.union(parameters)
    if unknown := [name for name in names if name not in known]:
        hints = (difflib.get_close_matches(name, known, n=2) for name in unknown)
        listed = [
            f"{name!r} (close: {', '.join(hint)})" if hint else repr(name)
            for name, hint in zip(unknown, hints, strict=True)
        ]
        raise UnknownNameError(
            f"{model.name} has no parameter or module {', '.join(listed)}; "
            "expected: timm's names, whole"
        )
    prefixes = tuple(f"{name}." for name in names)
    return {p for p in parameters if p in names or p.startswith(prefixes)}
