"""Folders of timm and transformers: `config.json` beside the weights."""

from pathlib import Path
from typing import Any

from vit_tf.checkpoints.errors import CheckpointError, listing
from vit_tf.checkpoints.json_file import parse_json, read_json

# The first that is there; an index names a sharded model's files.
WEIGHTS = (
    "model.safetensors",
    "model.safetensors.index.json",
    "pytorch_model.bin",
    "pytorch_model.bin.index.json",
)
CONFIG = "config.json"
KINDS = {
    "architecture": str,
    "model_args": dict,
    "pretrained_cfg": dict,
    "num_classes": int,
    "global_pool": str,
}  # what timm writes


def read_config(directory: str | Path) -> dict[str, Any]:
    """What a directory's `config.json` states of its model.

    Returns:
        architecture: timm's name.
        model_args: constructor arguments, with number of classes, channels and image
            size of the stored weights.
        pretrained_cfg: preprocessing, licence, origin.
        label_names: one name a class, or None.

    Raises:
        CheckpointError: if there is no such file, or it is not timm's.
    """
    path = Path(directory) / CONFIG
    if not path.is_file():
        raise CheckpointError(
            f"{directory}: no config.json found; expected: a timm local directory, "
            f"{CONFIG} beside {' or '.join(WEIGHTS)}"
        )
    try:
        config = parse_json(path.read_bytes())
    except (ValueError, RecursionError) as error:
        raise CheckpointError(f"{path}: not JSON ({error})") from error
    _check(path, config)
    pretrained_cfg = config.get("pretrained_cfg") or config
    return {
        "architecture": config["architecture"],
        "model_args": _stored_arguments(config, pretrained_cfg),
        "pretrained_cfg": pretrained_cfg,
        "label_names": config.get("label_names", pretrained_cfg.get("label_names")),
    }


def config_beside(weights: Path) -> dict[str, Any]:
    """What `config.json` says, whosever it is; {} where there is none.

    Only beside a file that is named as timm and transformers name it: beside another,
    in a folder of downloads, it may be of another model.

    Raises:
        CheckpointError: if it is not a JSON object.
    """
    path = weights.parent / CONFIG
    return read_json(path) if weights.name in WEIGHTS and path.is_file() else {}


def weights_file(directory: str | Path) -> Path:
    """
    Raises:
        CheckpointError: if the directory holds no weights.
    """
    for name in WEIGHTS:
        path = Path(directory) / name
        if path.is_file():
            return path
    found = listing(sorted(path.name for path in Path(directory).iterdir()))
    raise CheckpointError(
        f"{directory}: {found or 'nothing'} found; expected: {' or '.join(WEIGHTS)}"
    )


def _check(path: Path, config: Any) -> None:
    """Raises where a file does not say what timm's does, listing every problem."""
    if not isinstance(config, dict) or config.get("architecture") is None:
        found = listing(config) if isinstance(config, dict) else type(config).__name__
        raise CheckpointError(
            f"{path}: {found or 'nothing'} found; expected: timm's config.json, which "
            "names an architecture"
        )
    problems = [
        f"{name} = {config[name]!r} found, {kind.__name__} expected"
        for name, kind in KINDS.items()
        if config.get(name) is not None and not isinstance(config[name], kind)
    ]
    cfg = config.get("pretrained_cfg") or config
    size = cfg.get("input_size") if isinstance(cfg, dict) else None
    if size and not (isinstance(size, list) and [type(n) for n in size] == [int] * 3):
        problems.append(f"input_size = {size!r} found, 3 whole numbers expected")
    if problems:
        raise CheckpointError(f"{path}: {'; '.join(problems)}")


def _stored_arguments(config: dict, pretrained_cfg: dict) -> dict[str, Any]:
    arguments: dict[str, Any] = {}
    if pretrained_cfg.get("input_size"):
        channels, height, width = pretrained_cfg["input_size"]
        arguments["in_chans"] = channels
        arguments["img_size"] = [height, width]
    for source in (pretrained_cfg, config):
        for name in ("num_classes", "global_pool"):
            if source.get(name) is not None:
                arguments[name] = source[name]
    arguments |= config.get("model_args") or {}
    size = arguments.get("img_size")
    if isinstance(size, list) and len(size) == 2:
        arguments["img_size"] = size[0] if size[0] == size[1] else tuple(size)
    return arguments
