"""Low-rank adaptation (https://arxiv.org/abs/2106.09685), by Keras's own."""

import contextlib
import fnmatch
from collections.abc import Sequence

import keras

from vit_tf.layers.initializers import skip_init
from vit_tf.mapping import assign, extract, named_layers
from vit_tf.training.freeze import train_only

LAYERS = ("*.attn.qkv", "*.attn.proj")


def enable_lora(
    model: keras.Model,
    rank: int,
    *,
    alpha: float | None = None,
    layers: Sequence[str] = LAYERS,
    train: Sequence[str] = (),
) -> None:
    """Of the model's parameters only a product of rank `rank` trains, layer by layer.

    `keras.layers.Dense.enable_lora`: a kernel becomes kernel + alpha / rank a b, where
    b begins at zero. A freshly made head has to train as well:
    `train=head(model)`. Before the model is saved, `merge_lora`.

    Args:
        model: A built model of vit_tf.
        rank: That of the products.
        alpha: What they are weighed by, relative to the rank; None for `rank`.
        layers: Which projections: shell patterns of timm's names, matched whole.
        train: timm's names of other parameters or modules that train.

    Raises:
        ValueError: if the rank is below 1; if a pattern fits no projection, or one
            that has LoRA already. Nothing is changed then.
        UnknownNameError: if there is nothing of a name in `train`.
    """
    if rank < 1:
        raise ValueError(f"rank={rank}: expected at least 1")
    found = _projections(model, layers)
    train_only(model, train)
    for layer in found:
        with _scope(layer):
            layer.enable_lora(rank, lora_alpha=alpha)


def merge_lora(model: keras.Model) -> keras.Model:
    """A plain model that computes the same: the products added to their kernels.

    It is built anew from the model's configuration, and everything in it trains; what
    is saved, converted back to timm or extracted is this one.

    Args:
        model: A model of vit_tf, which stays what it is.
    """
    tensors = extract(model)
    for layer, name in named_layers(model):
        if getattr(layer, "lora_enabled", False):
            a, b = (tensors.pop(f"{name}.lora_{x}.weight") for x in "AB")
            weight = tensors[f"{name}.weight"]
            product = (layer.lora_alpha / layer.lora_rank) * (b @ a)
            tensors[f"{name}.weight"] = weight + product.astype(weight.dtype)
    with skip_init():
        merged = type(model).from_config(model.get_config())
        merged.build((None, *model.img_size, model.in_chans))
    assign(merged, tensors)
    return merged


def _projections(
    model: keras.Model, patterns: Sequence[str]
) -> list[keras.layers.Dense]:
    """The layers that the patterns choose.

    Raises:
        ValueError: if one chooses none, or one that has LoRA already.
    """
    dense = {n: x for x, n in named_layers(model) if isinstance(x, keras.layers.Dense)}
    chosen = {p: fnmatch.filter(dense, p) for p in patterns}
    problems = [f"{p!r} fits no projection" for p, names in chosen.items() if not names]
    names = dict.fromkeys(name for names in chosen.values() for name in names)
    problems += [f"{n} has LoRA already" for n in names if dense[n].lora_enabled]
    if problems or not names:
        raise ValueError(
            f"{model.name}: {'; '.join(problems) or 'no layers given'}; expected: "
            "patterns of timm's names, such as '*.attn.qkv'"
        )
    return [dense[name] for name in names]


@contextlib.contextmanager
def _scope(layer: keras.layers.Layer):
    """Where the layer was built, so that what it adds has a path of its own."""
    with contextlib.ExitStack() as stack:
        for part in layer.path.split("/")[:-1]:
            stack.enter_context(keras.name_scope(part))
        yield
