"""The correspondence between a model's weights and timm's tensors.

A weight's timm name is its path in the model; a rule says the rest, one per Keras layer
type. So the mapping is derived, complete by construction, and its own inverse.
"""

import dataclasses
from collections.abc import Iterator, Mapping, Sequence

import keras
import numpy as np
import tensorflow as tf

Tensors = Mapping[str, np.ndarray]  # a whole checkpoint: timm name -> array


@dataclasses.dataclass(frozen=True)
class Layout:
    """How timm stores one weight of a layer.

    Attributes:
        name: timm's name for it, e.g. "weight".
        axes: for each axis of the Keras weight, the timm axis that it holds; None
            where they are the same.
    """

    name: str
    axes: tuple[int, ...] | None = None

    def to_timm(self, weight: np.ndarray) -> np.ndarray:
        return weight if self.axes is None else weight.transpose(np.argsort(self.axes))


LAYOUTS: dict[type[keras.layers.Layer], dict[str, Layout]] = {
    keras.layers.Dense: {
        "kernel": Layout("weight", (1, 0)),
        "bias": Layout("bias"),
        "lora_kernel_a": Layout("lora_A.weight", (1, 0)),  # as PEFT names them
        "lora_kernel_b": Layout("lora_B.weight", (1, 0)),
    },
    keras.layers.Conv2D: {
        "kernel": Layout("weight", (2, 3, 1, 0)),
        "bias": Layout("bias"),
    },
    keras.layers.LayerNormalization: {
        "gamma": Layout("weight"),
        "beta": Layout("bias"),
    },
}


class MappingError(ValueError):
    """Weights and tensors do not correspond. The message lists every problem."""


@dataclasses.dataclass(frozen=True)
class Entry:
    """One weight of a model, and timm's name and layout for it."""

    name: str
    layout: Layout
    weight: keras.Variable

    @property
    def shape(self) -> tuple[int, ...]:
        """The shape that timm's tensor has."""
        shape, axes = tuple(self.weight.shape), self.layout.axes
        return shape if axes is None else tuple(shape[i] for i in np.argsort(axes))


def entries(model: keras.Model) -> list[Entry]:
    """Every parameter of a built model, with timm's name and layout.

    Raises:
        MappingError: if two weights have the same timm name, or a Keras layer with
            weights has no rule.
    """
    found = []
    for layer, name in named_layers(model):
        for weight in _own_weights(layer):
            layout = _layout(layer, weight)
            found.append(Entry(join(name, layout.name), layout, weight))
    names = [entry.name for entry in found]
    if twice := sorted({name for name in names if names.count(name) > 1}):
        raise MappingError(f"several weights of {model.name} are named {twice}")
    return found


def assign(model: keras.Model, tensors: Tensors, unused: Sequence[str] = ()) -> None:
    """Fills every weight of `model` with its tensor: all of them, or none.

    Args:
        model: A built model.
        tensors: timm name -> array, in timm's layout.
        unused: Names of tensors that are knowingly left out; each must exist.

    Raises:
        MappingError: if a weight has no tensor, a tensor no weight, a shape differs
            or an exemption exempts nothing.
    """
    weights = {entry.name: entry for entry in entries(model)}
    problems = [f" - {name}: in the model only" for name in weights.keys() - tensors]
    problems += [
        f" + {name}: in the checkpoint only"
        for name in tensors.keys() - weights.keys() - set(unused)
    ]
    problems += [
        f" ? {name}: exempted, not there" for name in set(unused) - set(tensors)
    ]
    for name in weights.keys() & tensors.keys():
        found, expected = tuple(tensors[name].shape), weights[name].shape
        if found != expected:
            problems.append(f" ! {name}: shape {found} found, {expected} expected")
    if problems:
        raise MappingError(
            f"the checkpoint does not fit {model.name} ({len(problems)} problems):\n"
            + "\n".join(sorted(problems, key=lambda line: (line[1], line)))
        )
    for name, entry in weights.items():
        entry.weight.assign(_as_weight(tensors[name], entry.layout))


def extract(model: keras.Model) -> dict[str, np.ndarray]:
    """The model's weights as timm's tensors: the inverse of `assign`, bitwise."""
    return {
        entry.name: entry.layout.to_timm(entry.weight.numpy())
        for entry in entries(model)
    }


def named_layers(model: keras.Model) -> Iterator[tuple[keras.layers.Layer, str]]:
    """Every layer in a built model, with timm's name for it; "" for the model.

    Raises:
        MappingError: if a layer was not built by the model: it has no name in it.
    """
    yield model, ""
    prefix = f"{model.path}/"
    for layer in model._flatten_layers(include_self=False):
        if not (layer.path or "").startswith(prefix):
            raise MappingError(
                f"{layer.name} was not built by {model.name}, and has no name in it; "
                "expected: a model of vit_tf itself, not one that contains it"
            )
        yield layer, layer.path.removeprefix(prefix).replace("/", ".")


def join(module: str, name: str) -> str:
    return f"{module}.{name}" if module else name


def _as_weight(tensor: np.ndarray, layout: Layout) -> tf.Tensor:
    """The tensor in Keras's layout, in memory that the variable may keep.

    TensorFlow may adopt an array's memory instead of copying it, and an optimizer
    later writes there: it must not be a mapped file.
    """
    if layout.axes is None:
        return tf.convert_to_tensor(np.array(tensor))
    return tf.transpose(tf.convert_to_tensor(tensor), layout.axes)


def _own_weights(layer: keras.layers.Layer) -> list[keras.Variable]:
    inner = {id(v) for sub in layer._flatten_layers(False) for v in sub.weights}
    return [v for v in layer.weights if id(v) not in inner]


def _layout(layer: keras.layers.Layer, weight: keras.Variable) -> Layout:
    for kind, layouts in LAYOUTS.items():
        if isinstance(layer, kind):
            return layouts[weight.name]
    if type(layer).__module__.startswith("keras."):
        raise MappingError(
            f"no rule for {type(layer).__name__}.{weight.name} ({layer.path}): "
            "add its type to mapping.LAYOUTS"
        )
    return Layout(weight.name)  # a layer of ours names its weights as timm does
