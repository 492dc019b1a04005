"""What transformers' `config.json` says of a model, in timm's terms."""

from collections.abc import Callable, Mapping
from typing import Any

from vit_tf.checkpoints.errors import CheckpointError

ACTIVATIONS = {  # transformers' name -> timm's
    "gelu": "gelu",
    "gelu_python": "gelu",
    "gelu_new": "gelu_tanh",
    "gelu_pytorch_tanh": "gelu_tanh",
    "quick_gelu": "quick_gelu",
    "silu": "silu",
    "swish": "silu",
    "relu": "relu",
}
EPS = {"dinov2": 1e-6, "dinov2_with_registers": 1e-6}  # transformers' defaults
OTHER_EPS = 1e-12
SWIN_ONLY = {"layer_norm_eps": 1e-5, "hidden_act": "gelu"}  # timm's Swin has no others
BIT_ONLY = {  # of what vit-hybrid's network may be, timm's
    "layer_type": "bottleneck",
    "global_padding": "SAME",
    "embedding_dynamic_padding": True,
    "embedding_size": 64,
    "num_groups": 32,
    "hidden_act": "relu",
    "output_stride": 32,
    "width_factor": 1,
}
BIT_DEFAULTS = {
    "layer_type": "preactivation",
    "global_padding": None,
    "embedding_dynamic_padding": False,
}


def _is_whole(value: Any) -> bool:
    return type(value) is int and value > 0


def _are_whole(value: Any, least: int = 1) -> bool:
    is_list = isinstance(value, (list, tuple)) and len(value) > 0
    return is_list and all(type(n) is int and n >= least for n in value)


def _is_size(value: Any) -> bool:
    return _is_whole(value) or (_are_whole(value) and len(value) == 2)


def _are_labels(value: Any) -> bool:
    return isinstance(value, Mapping) and all(str(i).isdecimal() for i in value)


SIZE = (_is_size, "a positive number or two")
NUMBERS = (_are_whole, "positive numbers")
VALUES: dict[str, tuple[Callable[[Any], bool], str]] = {
    "image_size": SIZE,
    "patch_size": SIZE,
    "window_size": (_is_whole, "a positive number"),
    "num_attention_heads": (_is_whole, "a positive number"),
    "num_heads": NUMBERS,
    "depths": NUMBERS,
    "pretrained_window_sizes": (lambda v: _are_whole(v, 0), "numbers, none negative"),
    "layer_norm_eps": (lambda v: type(v) in (int, float), "a number"),
    "hidden_act": (lambda v: isinstance(v, str), "a name"),
    "qkv_bias": (lambda v: isinstance(v, bool), "true or false"),
    "id2label": (_are_labels, "names by number"),
    "backbone_config": (lambda v: isinstance(v, Mapping), "a mapping"),
}


def check_config(config: Mapping[str, Any], kind: str) -> None:
    """
    Raises:
        CheckpointError: if `config.json` states another type than the names show, or
            what is read of it is not of the type that transformers writes.
    """
    if "model_type" not in config:
        return
    if problems := [
        f"{name}={config[name]!r} found, {expected} expected"
        for name, (is_right, expected) in VALUES.items()
        if config.get(name) is not None and not is_right(config[name])
    ]:
        raise CheckpointError(f"config.json: {'; '.join(problems)}")
    stated = config["model_type"]
    if stated != kind:
        raise CheckpointError(
            f"config.json: model_type={stated!r} found, {kind!r} expected: the tensors "
            "have the names of one"
        )


def arguments_of_config(config: Mapping[str, Any], kind: str) -> dict[str, Any]:
    """The constructor's arguments that no tensor's shape tells, by timm's names.

    Args:
        config: transformers' `config.json`; anything else, or {}, says nothing.
        kind: The model's type.

    Raises:
        CheckpointError: if timm's model cannot be such, listing all reasons.
    """
    if "model_type" not in config:
        return {}
    arguments: dict[str, Any] = {}
    if "image_size" in config:
        arguments["img_size"] = _size(config["image_size"])
    if "qkv_bias" in config:
        arguments["qkv_bias"] = config["qkv_bias"]
    if kind in ("swin", "swinv2"):
        problems = _others(config, SWIN_ONLY, SWIN_ONLY, "")
        problems = problems or _different_windows(config)
        arguments |= _swin_arguments(config)
    else:
        problems = _unknown_activation(config)
        if kind == "vit-hybrid":
            problems += _others_of_bit(config.get("backbone_config") or {})
        arguments |= _vit_arguments(config, kind)
    if problems:
        raise CheckpointError(f"config.json: {'; '.join(problems)}")
    return arguments


def label_names(config: Mapping[str, Any], num_classes: int) -> list[str]:
    """The classes' names in their order; [] if there are only transformers' own.

    Raises:
        CheckpointError: if there is not one for each class.
    """
    labels = config.get("id2label") or {}
    labels = {int(index): str(label) for index, label in labels.items()}
    if not num_classes or all(label == f"LABEL_{i}" for i, label in labels.items()):
        return []
    if sorted(labels) != list(range(num_classes)):
        raise CheckpointError(
            f"config.json: id2label with {len(labels)} names found, 0 to "
            f"{num_classes - 1} expected: the head has {num_classes} classes"
        )
    return [labels[index] for index in range(num_classes)]


def _vit_arguments(config: Mapping[str, Any], kind: str) -> dict[str, Any]:
    eps = config.get("layer_norm_eps", EPS.get(kind, OTHER_EPS))
    arguments = {
        "norm_layer": "LayerNorm" if eps == 1e-6 else f"LayerNorm(eps={eps})",
        "act_layer": ACTIVATIONS.get(config.get("hidden_act", "gelu")),
    }
    if "num_attention_heads" in config:
        arguments["num_heads"] = config["num_attention_heads"]
    return arguments


def _swin_arguments(config: Mapping[str, Any]) -> dict[str, Any]:
    found = {
        name: config[name]
        for name in ("depths", "num_heads", "window_size", "pretrained_window_sizes")
        if name in config
    }
    return {
        name: tuple(value) if isinstance(value, list) else value
        for name, value in found.items()
    }


def _unknown_activation(config: Mapping[str, Any]) -> list[str]:
    activation = config.get("hidden_act", "gelu")
    if activation in ACTIVATIONS:
        return []
    return [
        f"hidden_act={activation!r} found, one of {', '.join(ACTIVATIONS)} expected"
    ]


def _others(
    config: Mapping[str, Any],
    expected: Mapping[str, Any],
    defaults: Mapping[str, Any],
    where: str,
) -> list[str]:
    return [
        f"{where}{name}={found!r} found, {value!r} expected: timm has no other"
        for name, value in expected.items()
        if (found := config.get(name, defaults.get(name, value))) != value
    ]


def _others_of_bit(config: Mapping[str, Any]) -> list[str]:
    config = dict(config)
    if isinstance(config.get("global_padding"), str):
        config["global_padding"] = config["global_padding"].upper()
    problems = _others(config, BIT_ONLY, BIT_DEFAULTS, "backbone_config.")
    last = f"stage{len(config.get('depths', ()))}"
    features = config.get("out_features") or [last]
    if "depths" in config and list(features) != [last]:
        problems.append(
            f"backbone_config.out_features={features} found, {[last]} expected: timm's "
            "tokens are made of the last stage"
        )
    return problems


def _different_windows(config: Mapping[str, Any]) -> list[str]:
    """Where transformers and timm do not part feature maps into the same windows.

    What is not whole windows transformers pads before it shifts, and hides; timm pads
    after, and does not hide. And where a map is no larger than a window in one
    direction only, transformers stops shifting in both.
    """
    img_size = _pair(config.get("image_size", 224))
    patch_size = _pair(config.get("patch_size", 4))
    window = config.get("window_size", 7)
    if any(size % side for size, side in zip(img_size, patch_size, strict=True)):
        return [f"image_size={img_size} found, whole patches of {patch_size} expected"]
    resolution = [n // side for n, side in zip(img_size, patch_size, strict=True)]
    problems = []
    for stage in range(len(config.get("depths", ()))):
        height, width = resolution
        whole = height % window == width % window == 0 and min(resolution) > window
        if not whole and not height == width <= window:
            problems.append(
                f"a feature map of {height} x {width} tokens found in stage {stage}, "
                f"whole windows of {window} x {window} expected: transformers and timm "
                "pad others differently"
            )
        resolution = [(size + 1) // 2 for size in resolution]
    return problems


def _size(value: Any) -> Any:
    """A size as timm's configurations have it: a number where both are the same."""
    height, width = _pair(value)
    return height if height == width else (height, width)


def _pair(value: Any) -> tuple[int, int]:
    return (value, value) if isinstance(value, int) else tuple(value)
