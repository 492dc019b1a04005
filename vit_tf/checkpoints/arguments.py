"""A model's constructor arguments, as far as its tensors tell them."""

import itertools
import math
from collections.abc import Collection, Mapping
from typing import Any

import numpy as np

from vit_tf.checkpoints.errors import CheckpointError
from vit_tf.checkpoints.tensor_names import BIAS_TABLE, PATCHES, POSITIONS, first_conv

Tensors = Mapping[str, np.ndarray]  # a whole checkpoint: timm name -> array
Known = Mapping[str, Any]  # likely constructor arguments
BACKBONE = "patch_embed.backbone."
SCALE = 1e-5  # what LayerScale starts from, where it is there and nobody says


def read_model_class(names: Collection[str]) -> tuple[str, str]:
    """The family and the class that tensors of these names are of.

    timm's DeiTs that are not distilled are of the same class as its ViTs, and are not
    told apart.

    Args:
        names: timm's names of a checkpoint's tensors.

    Returns:
        A module of `vit_tf.models` and a class in it; "" and "" where no family has
        such names.
    """
    if "layers.0.blocks.0.attn.logit_scale" in names:
        return "swin_transformer_v2", "SwinTransformerV2"
    if "layers.0.blocks.0.attn.relative_position_bias_table" in names:
        return "swin_transformer", "SwinTransformer"
    if "blocks_token_only.0.norm1.weight" in names:
        return "cait", "Cait"
    if "dist_token" in names:
        return "deit", "VisionTransformerDistilled"
    if any(name.startswith("patch_embed.backbone.") for name in names):
        return "vision_transformer_hybrid", "VisionTransformerHybrid"
    if any(name.startswith("blocks.0.") for name in names) and PATCHES in names:
        return "vision_transformer", "VisionTransformer"
    return "", ""


def read_arguments(
    tensors: Tensors, model_class: str, known: Known | None = None
) -> dict[str, Any]:
    """What names and shapes decide; what they leave open stays out.

    Numbers of heads are read where a tensor has a row for each: in CaiT and Swin.

    Args:
        tensors: timm name -> array; only shapes are looked at.
        model_class: Whose tensors they are, see `read_model_class`.
        known: Arguments that are likely, e.g. the named architecture's. Where several
            values fit, such as an `mlp_ratio` that is rounded, an `img_size` that is
            not square, or another kind of gate, and this is one of them, it is taken.

    Returns:
        Constructor arguments by name. An `init_values` that is not None says that there
        is a LayerScale, not what it started from; `fc_norm` is True or False, never
        None.

    Raises:
        CheckpointError: if a tensor that tells is missing, or has not the axes that it
            has in such a model.
    """
    readers = {"Cait": _cait, "SwinTransformer": _swin, "SwinTransformerV2": _swin}
    return readers.get(model_class, _vit)(tensors, known or {})


def _vit(tensors: Tensors, known: Known) -> dict[str, Any]:
    found = _images(tensors, "head") | _tokens(tensors) | _norms(tensors, known)
    found |= _block(tensors, found["embed_dim"], known)
    found["depth"] = _count(tensors, "blocks")
    if POSITIONS in tensors:
        found["pos_embed"] = "learn"
    else:
        found["pos_embed"] = _said(known.get("pos_embed"), "none", "")
    if "attn_pool.latent" in tensors:
        found["global_pool"] = "map"
    elif known.get("global_pool") == "map":
        found["global_pool"] = "token" if found["class_token"] else "avg"
    step = 1
    if any(name.startswith(BACKBONE) for name in tensors):
        network = _network(tensors)
        found = {"patch_size": 1} | found | network
        halvings = 2 + len(network["backbone_layers"][1:])
        step = 16 if network["backbone"] == "conv_stem" else 2**halvings
    prefix = 2 if "dist_token" in tensors else found["class_token"]
    patch = _pair(found.get("patch_size"))
    positions = _positions(tensors, prefix + found["reg_tokens"], patch, known, step)
    return found | positions


def _cait(tensors: Tensors, known: Known) -> dict[str, Any]:
    found = _images(tensors, "head")
    dim = _shape(tensors, POSITIONS, 3)[-1]
    found |= dict(
        embed_dim=dim,
        depth=_count(tensors, "blocks"),
        depth_token_only=_count(tensors, "blocks_token_only"),
        num_heads=_shape(tensors, "blocks.0.attn.proj_l.weight", 2)[0],
        qkv_bias="blocks.0.attn.qkv.bias" in tensors,
    )
    for blocks, ratio in (
        ("blocks", "mlp_ratio"),
        ("blocks_token_only", "mlp_ratio_token_only"),
    ):
        hidden = _shape(tensors, f"{blocks}.0.mlp.fc1.weight", 2)[0]
        found[ratio] = _ratio(hidden, dim, known.get(ratio))
    positions = _positions(tensors, 0, _pair(found.get("patch_size")), known)
    return found | positions


def _swin(tensors: Tensors, known: Known) -> dict[str, Any]:
    found = _images(tensors, "head.fc")
    stages = range(_count(tensors, "layers"))
    blocks = [f"layers.{i}.blocks.0" for i in stages]
    dim = _shape(tensors, f"{blocks[0]}.norm1.weight", 1)[0]
    hidden = _shape(tensors, f"{blocks[0]}.mlp.fc1.weight", 2)[0]
    found |= dict(
        embed_dim=dim,
        depths=tuple(_count(tensors, f"layers.{i}.blocks") for i in stages),
        mlp_ratio=_ratio(hidden, dim, known.get("mlp_ratio")),
    )
    if f"{blocks[0]}.attn.logit_scale" in tensors:
        scales = [
            _shape(tensors, f"{block}.attn.logit_scale", 3)[0] for block in blocks
        ]
        has_bias = f"{blocks[0]}.attn.q_bias" in tensors
        return found | dict(num_heads=tuple(scales), qkv_bias=has_bias)
    tables = [_shape(tensors, f"{block}.attn{BIAS_TABLE}", 2) for block in blocks]
    heads = tuple(heads for _, heads in tables)
    found |= dict(num_heads=heads, qkv_bias=f"{blocks[0]}.attn.qkv.bias" in tensors)
    attn_dim = _shape(tensors, f"{blocks[0]}.attn.qkv.weight", 2)[0] // 3
    found["head_dim"] = None if attn_dim == dim else attn_dim // heads[0]
    sides = [math.isqrt(positions) for positions, _ in tables]
    if all(side * side == table[0] for side, table in zip(sides, tables, strict=True)):
        windows = tuple((side + 1) // 2 for side in sides)
        found["window_size"] = windows[0] if len(set(windows)) == 1 else windows
    return found


def _images(tensors: Tensors, classifier: str) -> dict[str, Any]:
    """Channels, patches and classes."""
    found: dict[str, Any] = {"num_classes": 0}
    if f"{classifier}.weight" in tensors:
        found["num_classes"] = _shape(tensors, f"{classifier}.weight", 2)[0]
    conv = _shape(tensors, first_conv(tensors), 2, 4)
    if len(conv) == 4:
        found["in_chans"] = conv[1]
    patches = _shape(tensors, PATCHES, 2, 4) if PATCHES in tensors else ()
    if len(patches) == 4:  # in timm's early models it was a linear projection
        found["patch_size"] = _size(patches[2:])
    return found


def _tokens(tensors: Tensors) -> dict[str, Any]:
    if PATCHES in tensors:
        dim = _shape(tensors, PATCHES, 2, 4)[0]
    else:
        dim = _shape(tensors, POSITIONS, 3)[-1]
    registers = _shape(tensors, "reg_token", 3)[1] if "reg_token" in tensors else 0
    return dict(embed_dim=dim, class_token="cls_token" in tensors, reg_tokens=registers)


def _norms(tensors: Tensors, known: Known) -> dict[str, Any]:
    found: dict[str, Any] = dict(
        pre_norm="norm_pre.weight" in tensors,
        final_norm="norm.weight" in tensors or "fc_norm.weight" in tensors,
    )
    if found["final_norm"]:
        found["fc_norm"] = "fc_norm.weight" in tensors and "norm.weight" not in tensors
    if "patch_embed.norm.weight" not in tensors:
        found["embed_norm_layer"] = None
    elif "embed_norm_layer" in known:
        kind = "LayerNorm" if "patch_embed.norm.bias" in tensors else "RmsNorm"
        found["embed_norm_layer"] = _said(known["embed_norm_layer"], kind)
    for norm in ("norm", "fc_norm", "blocks.0.norm1"):
        if f"{norm}.weight" in tensors and "norm_layer" in known:
            kind = "LayerNorm" if f"{norm}.bias" in tensors else "RmsNorm"
            found["norm_layer"] = _said(known["norm_layer"], kind)
    return found


def _block(tensors: Tensors, dim: int, known: Known) -> dict[str, Any]:
    """What a ViT's blocks are made of; all are alike."""
    if "blocks.0.in_proj.weight" in tensors:
        return _parallel_block(tensors, dim, known)
    attn, mlp, scale = "blocks.0.attn", "blocks.0.mlp", "blocks.0.ls1.gamma"
    found: dict[str, Any] = {}
    if "blocks.0.attns.0.attn.qkv.weight" in tensors:
        attn, mlp, scale = (
            "blocks.0.attns.0.attn", "blocks.0.ffns.0.mlp", "blocks.0.attns.0.ls.gamma"
        )  # fmt: skip
        found["block_fn"] = "ParallelThingsBlock"
    elif "block_fn" in known:
        found["block_fn"] = _said(known["block_fn"], "Block", "ResPostBlock")
    found |= dict(
        qkv_bias=f"{attn}.qkv.bias" in tensors,
        qk_norm=f"{attn}.q_norm.weight" in tensors,
        scale_attn_norm=f"{attn}.norm.weight" in tensors,
        scale_mlp_norm=f"{mlp}.norm.weight" in tensors,
        proj_bias=f"{attn}.proj.bias" in tensors,
        attn_layer="diff" if f"{attn}.lambda_q1" in tensors else "attn",
    )
    if found.get("block_fn") != "ResPostBlock":
        found["init_values"] = _scale(scale in tensors, known)
    inner = _shape(tensors, f"{mlp}.fc2.weight", 2)[1]
    if f"{mlp}.fc1_g.weight" in tensors:
        hidden, kinds = inner, ("SwiGLU",)
    else:
        hidden = _shape(tensors, f"{mlp}.fc1.weight", 2)[0]
        kinds = ("Mlp",) if hidden == inner else ("GluMlp", "SwiGLUPacked")
    if len(kinds) == 1 or "mlp_layer" in known:
        found["mlp_layer"] = _said(known.get("mlp_layer"), *kinds)
    return found | {"mlp_ratio": _ratio(hidden, dim, known.get("mlp_ratio"))}


def _parallel_block(tensors: Tensors, dim: int, known: Known) -> dict[str, Any]:
    differential = "blocks.0.lambda_q1" in tensors
    out = "out_proj" if differential else "attn_out_proj"
    hidden = _shape(tensors, "blocks.0.in_proj.weight", 2)[0] - 3 * dim
    return dict(
        block_fn="DiffParallelScalingBlock" if differential else "ParallelScalingBlock",
        qkv_bias="blocks.0.in_proj.bias" in tensors,
        qk_norm="blocks.0.q_norm.weight" in tensors,
        scale_attn_norm=False,
        scale_mlp_norm=False,
        proj_bias=f"blocks.0.{out}.bias" in tensors,
        init_values=_scale("blocks.0.ls.gamma" in tensors, known),
        mlp_ratio=_ratio(hidden, dim, known.get("mlp_ratio")),
    )


def _network(tensors: Tensors) -> dict[str, Any]:
    """A hybrid's network: its kind, the blocks of its stages and their widths."""
    kind, stage, width, standard = {
        f"{BACKBONE}stem.conv.weight": (
            "resnetv2", "stages.{}.blocks", "conv3", (256, 512, 1024, 2048)
        ),
        f"{BACKBONE}conv.weight": ("resnetv2", "", "", ()),
        f"{BACKBONE}conv1.0.weight": (
            "resnet", "layer{}", "conv1", (64, 128, 256, 512)
        ),
        f"{BACKBONE}0.conv.weight": ("conv_stem", "", "", ()),
    }.get(first_conv(tensors), ("", "", "", ()))  # fmt: skip
    if not kind:
        raise CheckpointError(
            f"{BACKBONE}... found, and no first convolution of a network that hybrids "
            "have; expected: stem.conv, conv, conv1.0 or 0.conv"
        )
    layers, channels = [], []
    if stage:
        first = 1 if kind == "resnet" else 0
        names = (f"{BACKBONE}{stage.format(i)}" for i in itertools.count(first))
        for blocks in itertools.takewhile(lambda b: _count(tensors, b), names):
            layers.append(_count(tensors, blocks))
            channels.append(_shape(tensors, f"{blocks}.0.{width}.weight", 4)[0])
    elif kind == "conv_stem":
        names = [f"{BACKBONE}{i}.conv.weight" for i in range(3)]
        channels = [_shape(tensors, name, 4)[0] for name in names]
    is_standard = tuple(channels) == standard[: len(channels)]
    return dict(
        backbone=kind,
        backbone_layers=tuple(layers),
        backbone_channels=None if is_standard else tuple(channels),
        proj=PATCHES in tensors,
    )


def _positions(
    tensors: Tensors, prefix: int, patch: tuple[int, ...], known: Known, step: int = 1
) -> dict[str, Any]:
    """The image size, and whether prefix tokens have a position, from the rows.

    Args:
        tensors: The checkpoint.
        prefix: Number of prefix tokens.
        patch: Height and width of a patch; () if not known.
        known: Likely arguments.
        step: Pixels from place to place of what is cut into patches: of a hybrid's
            features, which are rounded up.
    """
    if POSITIONS not in tensors or not patch:
        return {}
    rows = _shape(tensors, POSITIONS, 3)[1]
    counts = {False: rows - prefix, True: rows} if prefix else {False: rows}
    likely = known.get("img_size")
    if likely is not None:
        sizes = zip(_pair(likely), patch, strict=True)
        grid = [-(-pixels // step) // size for pixels, size in sizes]
        fitting = {flag: likely for flag, n in counts.items() if n == math.prod(grid)}
    if likely is None or not fitting:
        squares = {flag: math.isqrt(max(n, 0)) for flag, n in counts.items()}
        fitting = {
            flag: _size(tuple(side * size * step for size in patch))
            for flag, side in squares.items()
            if side and side * side == counts[flag]
        }
    if len(fitting) != 1:
        return {}
    flag, size = fitting.popitem()
    return {"img_size": size} | ({"no_embed_class": flag} if prefix else {})


def _shape(tensors: Tensors, name: str, *axes: int) -> tuple[int, ...]:
    """A tensor's shape, which has one of these numbers of axes, none of length 0.

    Raises:
        CheckpointError: if it has another, or there is no such tensor.
    """
    expected = f"expected: {' or '.join(map(str, axes))} axes"
    if name not in tensors:
        raise CheckpointError(f"{name} is missing; {expected}")
    shape = tuple(tensors[name].shape)
    if len(shape) not in axes or 0 in shape:
        raise CheckpointError(f"{name}: shape {shape} found; {expected}, none empty")
    return shape


def _count(tensors: Tensors, parent: str) -> int:
    """How many layers `parent` has, which are named by numbers from 0."""
    start = f"{parent}."
    found = {n[len(start) :].partition(".")[0] for n in tensors if n.startswith(start)}
    return len(found)


def _said(likely: str | None, *kinds: str) -> str:
    """The likely layer, as text, if it is of one of these kinds; else the first."""
    return likely if (likely or "").partition("(")[0] in kinds else kinds[0]


def _ratio(hidden: int, dim: int, likely: float | None) -> float:
    """What times `dim`, rounded down, is `hidden`."""
    if likely is not None and int(dim * likely) == hidden:
        return likely
    ratio = hidden / dim
    return ratio if int(dim * ratio) == hidden else math.nextafter(ratio, math.inf)


def _scale(there: bool, known: Known) -> float | None:
    return (known.get("init_values") or SCALE) if there else None


def _size(size: tuple[int, int]) -> int | tuple[int, int]:
    """One number for both where they are the same."""
    return size[0] if size[0] == size[1] else size


def _pair(size: int | tuple[int, int] | None) -> tuple[int, ...]:
    if size is None:
        return ()
    return (size, size) if isinstance(size, int) else tuple(size)
