"""timm's local directories: `config.json` beside the weights."""

import json
from pathlib import Path
from typing import Any

from vit_tf.checkpoints.errors import CheckpointError

WEIGHTS = ("model.safetensors", "pytorch_model.bin")


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
    path = Path(directory) / "config.json"
    if not path.is_file():
        raise CheckpointError(
            f"{directory}: no config.json found; expected: a timm local directory, "
            f"config.json beside {' or '.join(WEIGHTS)}"
        )
    try:
        config = json.loads(path.read_text())
    except ValueError as error:
        raise CheckpointError(f"{path}: not JSON ({error})") from error
    if not isinstance(config, dict) or "architecture" not in config:
        keys = sorted(config) if isinstance(config, dict) else type(config).__name__
        raise CheckpointError(f"{path}: {keys} found; expected: timm's architecture")
    pretrained_cfg = config.get("pretrained_cfg", config)
    return {
        "architecture": config["architecture"],
        "model_args": _stored_arguments(config, pretrained_cfg),
        "pretrained_cfg": pretrained_cfg,
        "label_names": config.get("label_names", pretrained_cfg.get("label_names")),
    }


def weights_file(directory: str | Path) -> Path:
    """
    Raises:
        CheckpointError: if the directory holds no weights.
    """
    for name in WEIGHTS:
        path = Path(directory) / name
        if path.is_file():
            return path
    found = sorted(path.name for path in Path(directory).iterdir())
    raise CheckpointError(
        f"{directory}: {found} found, {' or '.join(WEIGHTS)} expected"
    )


def _stored_arguments(config: dict, pretrained_cfg: dict) -> dict[str, Any]:
    arguments: dict[str, Any] = {}
    if "input_size" in pretrained_cfg:
        channels, height, width = pretrained_cfg["input_size"]
        arguments["in_chans"] = channels
        arguments["img_size"] = [height, width]
    for source in (pretrained_cfg, config):
        for name in ("num_classes", "global_pool"):
            if source.get(name) is not None:
                arguments[name] = source[name]
    arguments |= config.get("model_args", {})
    size = arguments.get("img_size")
    if isinstance(size, list):
        arguments["img_size"] = size[0] if size[0] == size[1] else tuple(size)
    return arguments
