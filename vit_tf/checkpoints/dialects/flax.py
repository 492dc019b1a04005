"""The original JAX files: google-research/vision_transformer's and big_vision's.

Their names are paths in a tree of Flax modules, whose kernels have their inputs first
and keep attention's heads as an axis. What the modules are called changed over the
years; each of those names is known here.
"""

import dataclasses
import re
from collections import ChainMap
from collections.abc import Callable, Collection, Mapping
from typing import Any

import numpy as np

from vit_tf.checkpoints.dialects.dialect import Dialect, Tensors, Translation
from vit_tf.checkpoints.edits import Edit, EditedTensors, unchanged
from vit_tf.checkpoints.errors import UnknownLayoutError, listing

# Where the model's tree begins in a file, in the order in which timm looks for it.
ROOTS = ("", "opt/target/", "params/", "params/img/", "img/")
POSITIONS = (
    "pos_embedding",
    "Transformer/pos_embedding",
    "Transformer/posembed_input/pos_embedding",
)
BESIDE = {  # what training scripts keep beside the model
    r"opt/(?!target/).*": "the optimizer's state",
    r"chrono/.*": "the training's clock",
}
TEXT = "of the text tower, or of the loss that compares it with the images"
PRE_LOGITS = (
    "a layer between the class token and the head, with a tanh, which timm's models "
    "no longer have: their features are what it was given"
)
HEAD = (
    "trained on what pre_logits gives, which is left out: on anything else it would "
    "compute nonsense"
)


@dataclasses.dataclass(frozen=True)
class Rule:
    """How one of timm's tensors is made, and what it is made from.

    Attributes:
        sources: The names in the file.
        axes: How many axes each of them has: one of these numbers.
        make: From those arrays to timm's.
    """

    sources: tuple[str, ...]
    axes: tuple[int, ...]
    make: Callable[..., np.ndarray] = unchanged


# Of the images that they were all trained on: from -1 to 1.
RANGE = {"mean": (0.5, 0.5, 0.5), "std": (0.5, 0.5, 0.5)}


def fits(names: Collection[str]) -> bool:
    return any(f"{root}embedding/kernel" in names for root in ROOTS)


def translate(tensors: Tensors, config: Mapping[str, Any]) -> Translation:
    """timm's tensors from those of a JAX file; timm's `_load_weights` in NumPy.

    An in21k file may hold `pre_logits`. timm drops that layer and keeps the head
    behind it; here both are left out, and the model gives features.

    Raises:
        UnknownLayoutError: if there is no such model in the file, or tensors of it
            cannot be made into timm's, listing all: by their number of axes, or
            because what belongs together differs.
    """
    root = _root(tensors)
    shapes = {name: tuple(tensors[name].shape) for name in tensors}
    left_out = _left_out(shapes, root)
    rules = {
        target: rule
        for target, rule in _rules(shapes, root).items()
        if set(rule.sources) <= shapes.keys() - left_out.keys()
    }
    _check(rules, shapes)
    edits = {name: Edit(rule.sources, rule.make) for name, rule in rules.items()}
    used = _sources(rules)
    unknown = [name for name in shapes if name not in used and name not in left_out]
    edits |= {name: Edit((name,)) for name in unknown}
    # A stack of all blocks is read once: each block is a slice of it.
    stacks = {name: tensors[name] for name in used if "/encoderblock/" in name}
    return Translation(
        EditedTensors(ChainMap(stacks, tensors), edits),
        left_out,
        _family(shapes, root),
        _arguments(shapes, root, _num_heads(rules, shapes)),
        RANGE,
    )


FLAX = Dialect("flax", "original JAX (Flax) files", fits, translate)


def _root(names: Collection[str]) -> str:
    """Where the model's tree begins."""
    for root in ROOTS:
        if f"{root}embedding/kernel" in names:
            return root
    raise UnknownLayoutError(
        f"tensors named {listing(names, 4)} found; expected: embedding/kernel, at the "
        f"top or below {', '.join(filter(None, ROOTS))}"
    )


def _rules(shapes: Mapping[str, tuple[int, ...]], root: str) -> dict[str, Rule]:
    """timm's name -> rule, of every tensor that a file with these names may hold."""
    rules = {
        "cls_token": Rule((f"{root}cls",), (3,)),
        **_convolution(f"{root}embedding", "patch_embed.proj"),
        **_norm(f"{root}Transformer/encoder_norm", "norm"),
        **_dense(f"{root}head", "head"),
        **_pooling(f"{root}MAPHead_0", "attn_pool"),
    }
    for name in POSITIONS:
        if root + name in shapes:
            rules["pos_embed"] = Rule((root + name,), (3,))
    if f"{root}conv_root/kernel" in shapes:
        rules |= _network(shapes, root, "patch_embed.backbone")
    stack = f"{root}Transformer/encoderblock"
    if any(name.startswith(f"{stack}/") for name in shapes):
        return rules | _stacked(shapes, stack)
    for i in _numbers(shapes, rf"{re.escape(stack)}_(\d+)/"):
        rules |= _block(shapes, f"{stack}_{i}", f"blocks.{i}")
    return rules


def _block(
    shapes: Mapping[str, tuple[int, ...]], source: str, target: str
) -> dict[str, Rule]:
    """One encoder block. Flax numbered all its modules once, then each kind apart."""
    norm, attn, mlp = "LayerNorm_1", "MultiHeadDotProductAttention_0", "MlpBlock_0"
    if f"{source}/MultiHeadDotProductAttention_1/query/kernel" in shapes:
        norm, attn, mlp = "LayerNorm_2", "MultiHeadDotProductAttention_1", "MlpBlock_3"
    return {
        **_norm(f"{source}/LayerNorm_0", f"{target}.norm1"),
        **_heads(f"{source}/{attn}", ("query", "key", "value"), f"{target}.attn.qkv"),
        **_from_heads(f"{source}/{attn}/out", f"{target}.attn.proj"),
        **_norm(f"{source}/{norm}", f"{target}.norm2"),
        **_mlp(f"{source}/{mlp}", f"{target}.mlp"),
    }


def _stacked(shapes: Mapping[str, tuple[int, ...]], stack: str) -> dict[str, Rule]:
    """All blocks in one, whose tensors have a leading axis of layers."""
    rules = {}
    depths = {
        shape[0] if shape else 0
        for name, shape in shapes.items()
        if name.startswith(f"{stack}/")
    }
    if len(depths) != 1:
        raise UnknownLayoutError(
            f"{stack}: stacks of {_or(depths)} blocks found; expected: as many blocks "
            "in each tensor"
        )
    for i in range(*depths):
        for target, rule in _block(shapes, stack, f"blocks.{i}").items():
            axes = tuple(number + 1 for number in rule.axes)
            rules[target] = Rule(rule.sources, axes, _of_layer(i, rule.make))
    return rules


def _of_layer(i: int, make: Callable[..., np.ndarray]) -> Callable[..., np.ndarray]:
    return lambda *stacks: make(*(stack[i] for stack in stacks))


def _pooling(source: str, target: str) -> dict[str, Rule]:
    """Attention pooling, by a learned probe."""
    attn = f"{source}/MultiHeadDotProductAttention_0"
    return {
        f"{target}.latent": Rule((f"{source}/probe",), (3,)),
        **_heads(attn, ("query",), f"{target}.q"),
        **_heads(attn, ("key", "value"), f"{target}.kv"),
        **_from_heads(f"{attn}/out", f"{target}.proj"),
        **_norm(f"{source}/LayerNorm_0", f"{target}.norm"),
        **_mlp(f"{source}/MlpBlock_0", f"{target}.mlp"),
    }


def _network(
    shapes: Mapping[str, tuple[int, ...]], root: str, target: str
) -> dict[str, Rule]:
    """A hybrid's ResNet, or its stem alone."""
    units = _units(shapes, root)
    stem = f"{target}.stem" if units else target
    rules = {
        **_convolution(f"{root}conv_root", f"{stem}.conv"),
        **_group_norm(f"{root}gn_root", f"{stem}.norm"),
    }
    for block, unit in units:
        source = f"{root}block{block}/unit{unit}"
        name = f"{target}.stages.{block - 1}.blocks.{unit - 1}"
        for i in (1, 2, 3):
            rules |= _convolution(f"{source}/conv{i}", f"{name}.conv{i}")
            rules |= _group_norm(f"{source}/gn{i}", f"{name}.norm{i}")
        rules |= _convolution(f"{source}/conv_proj", f"{name}.downsample.conv")
        rules |= _group_norm(f"{source}/gn_proj", f"{name}.downsample.norm")
    return rules


def _norm(source: str, target: str, axes: tuple[int, ...] = (1,)) -> dict[str, Rule]:
    return {
        f"{target}.weight": Rule((f"{source}/scale",), axes, np.ravel),
        f"{target}.bias": Rule((f"{source}/bias",), axes, np.ravel),
    }


def _group_norm(source: str, target: str) -> dict[str, Rule]:
    return _norm(source, target, (1, 4))  # (C,), and (1, 1, 1, C) in the older files


def _dense(source: str, target: str) -> dict[str, Rule]:
    return {
        f"{target}.weight": Rule((f"{source}/kernel",), (2,), np.transpose),
        f"{target}.bias": Rule((f"{source}/bias",), (1,)),
    }


def _mlp(source: str, target: str) -> dict[str, Rule]:
    return {
        **_dense(f"{source}/Dense_0", f"{target}.fc1"),
        **_dense(f"{source}/Dense_1", f"{target}.fc2"),
    }


def _convolution(source: str, target: str) -> dict[str, Rule]:
    return {
        f"{target}.weight": Rule((f"{source}/kernel",), (4,), _convolution_kernel),
        f"{target}.bias": Rule((f"{source}/bias",), (1,)),
    }


def _heads(source: str, projections: tuple[str, ...], target: str) -> dict[str, Rule]:
    """Projections to heads, which timm has in one."""
    kernels = tuple(f"{source}/{name}/kernel" for name in projections)
    biases = tuple(f"{source}/{name}/bias" for name in projections)
    return {
        f"{target}.weight": Rule(kernels, (3,), _to_heads_kernel),
        f"{target}.bias": Rule(biases, (2,), _to_heads_bias),
    }


def _from_heads(source: str, target: str) -> dict[str, Rule]:
    return {
        f"{target}.weight": Rule((f"{source}/kernel",), (3,), _from_heads_kernel),
        f"{target}.bias": Rule((f"{source}/bias",), (1,)),
    }


def _convolution_kernel(kernel: np.ndarray) -> np.ndarray:
    return kernel.transpose(3, 2, 0, 1)  # (H, W, I, O) -> (O, I, H, W)


def _to_heads_kernel(*kernels: np.ndarray) -> np.ndarray:
    """Each (D, H, D/H) -> (D, D), one below the other."""
    return np.concatenate([kernel.reshape(len(kernel), -1).T for kernel in kernels])


def _to_heads_bias(*biases: np.ndarray) -> np.ndarray:
    return np.concatenate([bias.ravel() for bias in biases])  # each (H, D/H) -> (D,)


def _from_heads_kernel(kernel: np.ndarray) -> np.ndarray:
    return kernel.reshape(-1, kernel.shape[-1]).T  # (H, D/H, D) -> (D, D)


def _left_out(names: Collection[str], root: str) -> dict[str, str]:
    """The file's name of a tensor that is no weight of timm's model -> why."""
    patterns = dict(BESIDE)
    if root.endswith("img/"):
        parent = re.escape(root.removesuffix("img/"))
        patterns[rf"{parent}(txt/.*|t|b)"] = TEXT
    if any(name.startswith(f"{root}pre_logits/") for name in names):
        patterns[rf"{re.escape(root)}pre_logits/.*"] = PRE_LOGITS
        patterns[rf"{re.escape(root)}head/.*"] = HEAD
    return {
        name: reason
        for name in names
        for pattern, reason in patterns.items()
        if re.fullmatch(pattern, name)
    }


def _check(rules: Mapping[str, Rule], shapes: Mapping[str, tuple[int, ...]]) -> None:
    """Raises where arrays cannot be made into timm's, listing every problem."""
    axes = {source: rule.axes for rule in rules.values() for source in rule.sources}
    problems = [
        f"{name}: shape {shapes[name]} found; expected: {_or(expected)} axes, none of "
        "them empty"
        for name, expected in axes.items()
        if len(shapes[name]) not in expected or 0 in shapes[name]
    ]
    joined = {rule.sources for rule in rules.values() if len(rule.sources) > 1}
    for sources in sorted(joined):
        if len({shapes[name] for name in sources}) > 1:
            found = ", ".join(f"{name} {shapes[name]}" for name in sources)
            problems.append(f"{found} found; expected: the same shape")
    problems += [
        f"{name} found beside {', '.join(rule.sources)}; expected: one of them"
        for name, rule in rules.items()
        if name in shapes
    ]
    if not problems and len(heads := _num_heads(rules, shapes)) > 1:
        problems.append(f"blocks of {_or(heads)} heads found; expected: one number")
    if problems:
        raise UnknownLayoutError("\n".join(problems))


def _sources(rules: Mapping[str, Rule]) -> set[str]:
    return {source for rule in rules.values() for source in rule.sources}


def _num_heads(
    rules: Mapping[str, Rule], shapes: Mapping[str, tuple[int, ...]]
) -> set[int]:
    queries = (name for name in _sources(rules) if name.endswith("/query/kernel"))
    return {shapes[name][-2] for name in queries}


def _family(names: Collection[str], root: str) -> str:
    hybrid = f"{root}conv_root/kernel" in names
    return "vision_transformer_hybrid" if hybrid else "vision_transformer"


def _arguments(names: Collection[str], root: str, heads: set[int]) -> dict[str, Any]:
    """What JAX's tensors tell and timm's do not."""
    arguments: dict[str, Any] = {}
    if heads:
        [arguments["num_heads"]] = heads
    if f"{root}cls" in names:
        arguments["global_pool"] = "token"
    elif f"{root}MAPHead_0/probe" in names:
        arguments["global_pool"] = "map"
    else:  # tokens are normalised before they are averaged
        arguments |= {"global_pool": "avg", "fc_norm": False}
    return arguments


def _or(numbers: Collection[int]) -> str:
    return " or ".join(map(str, sorted(numbers)))


def _units(names: Collection[str], root: str) -> list[tuple[int, int]]:
    """(block, unit), each from 1, of a hybrid's network."""
    pattern = rf"{re.escape(root)}block(\d+)/unit(\d+)/"
    matches = (re.match(pattern, name) for name in names)
    return sorted({(int(match[1]), int(match[2])) for match in matches if match})


def _numbers(names: Collection[str], pattern: str) -> list[int]:
    matches = (re.match(pattern, name) for name in names)
    return sorted({int(match[1]) for match in matches if match})
