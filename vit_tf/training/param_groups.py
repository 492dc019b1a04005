"""Which parameters share a weight decay and a scale of the learning rate.

timm's `param_groups_weight_decay` and `param_groups_layer_decay`
(timm/optim/_param_groups.py), by names.
"""

import dataclasses
import fnmatch
from collections.abc import Sequence

import keras

from vit_tf.mapping import Entry, entries

# What timm's models name in `no_weight_decay()`, over all families: each has some.
NO_WEIGHT_DECAY = (
    "cls_token",
    "dist_token",
    "reg_token",
    "pos_embed",
    "*relative_position_bias_table*",  # Swin
    "*cpb_mlp*",  # Swin V2
    "*logit_scale*",
)
_STEM = ("patch_embed", "norm_pre")


@dataclasses.dataclass(frozen=True)
class ParamGroup:
    """Parameters that are treated alike.

    Attributes:
        names: timm's names of the parameters.
        weight_decay: Theirs.
        lr_scale: What the learning rate is multiplied by.
    """

    names: tuple[str, ...]
    weight_decay: float
    lr_scale: float = 1.0


def param_groups(
    model: keras.Model,
    *,
    weight_decay: float,
    layer_decay: float | None = None,
    no_weight_decay: Sequence[str] = NO_WEIGHT_DECAY,
    min_scale: float = 0.0,
) -> list[ParamGroup]:
    """The trainable parameters of a model, grouped as timm groups them.

    Biases, norms (whatever has one axis) and `no_weight_decay` are not decayed. With
    `layer_decay` a parameter of layer i of n learns at `layer_decay ** (n - 1 - i)` of
    the learning rate (BEiT, https://arxiv.org/abs/2106.08254); `layers_of` says which
    layer it belongs to.

    Args:
        model: A built model of vit_tf.
        weight_decay: Of all others.
        layer_decay: The decay of the learning rate from layer to layer, from the head
            down; None for none.
        no_weight_decay: Names that are not decayed, as shell patterns, matched whole.
        min_scale: What a learning rate is multiplied by at the least.
    """
    trainable = [entry for entry in entries(model) if entry.weight.trainable]
    scales = _scales(model, layer_decay, min_scale)
    groups: dict[tuple[float, float], list[str]] = {}
    for entry in trainable:
        decay = weight_decay if _decays(entry, no_weight_decay) else 0.0
        groups.setdefault((scales[entry.name], decay), []).append(entry.name)
    return [
        ParamGroup(tuple(names), weight_decay=decay, lr_scale=scale)
        for (scale, decay), names in groups.items()
    ]


def layers_of(model: keras.Model) -> dict[str, int]:
    """The layer that each parameter belongs to, as timm's `group_matcher` counts them.

    0 is the stem (patch embedding, tokens, positions); then come the blocks, the last
    of which has the norm behind it, and what a Swin's stage begins with belongs to its
    first block. Whatever follows is the last layer. CaiT's blocks for the class token
    share the layers of its last blocks.

    Returns:
        timm name -> layer, from 0.
    """
    blocks = _blocks(model)
    last = max(blocks.values())
    found = {}
    for name in (entry.name for entry in entries(model)):
        if "." not in name or name.startswith(_STEM):
            found[name] = 0
        elif name.startswith("norm."):
            found[name] = last
        else:
            inside = (i for prefix, i in blocks.items() if name.startswith(prefix))
            found[name] = next(inside, last + 1)
    present = sorted(set(found.values()))
    return {name: present.index(layer) for name, layer in found.items()}


def _blocks(model: keras.Model) -> dict[str, int]:
    """What the names of a block's parameters begin with -> its number, from 1."""
    found: dict[str, int] = {}
    if hasattr(model, "stages"):  # a Swin's
        number = 0
        for stage in model.stages:
            found[f"{stage.name}.downsample."] = number + 1
            for block in stage.blocks:
                number += 1
                found[f"{stage.name}.{block.name}."] = number
        return found
    for number, block in enumerate(model.blocks, 1):
        found[f"{block.name}."] = number
    token_only = getattr(model, "blocks_token_only", [])  # CaiT's
    for number, block in enumerate(token_only, 1 + len(model.blocks) - len(token_only)):
        found[f"{block.name}."] = number
    return found


def _decays(entry: Entry, no_weight_decay: Sequence[str]) -> bool:
    if len(entry.shape) <= 1 or entry.name.endswith(".bias"):
        return False
    return not any(fnmatch.fnmatchcase(entry.name, p) for p in no_weight_decay)


def _scales(
    model: keras.Model, layer_decay: float | None, min_scale: float
) -> dict[str, float]:
    """timm name -> what the learning rate is multiplied by."""
    layers = layers_of(model)
    if layer_decay is None:
        return dict.fromkeys(layers, 1.0)
    last = max(layers.values())
    return {
        name: max(min_scale, layer_decay ** (last - layer))
        for name, layer in layers.items()
    }
