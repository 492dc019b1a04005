"""How a bundle's images are prepared: what is known of it, and whether it is all."""

from collections.abc import Mapping
from typing import Any

from ml_collections import ConfigDict

from vit_tf import models
from vit_tf.preprocessing import DataConfig

# What timm's `pretrained_cfg` says of preprocessing. Without a crop mode it is timm's.
STATED = ("mean", "std", "interpolation", "crop_pct", "crop_mode")
NEEDED = ("mean", "std", "interpolation", "crop_pct")


def stated(config: ConfigDict, facts: Mapping[str, Any]) -> dict[str, Any]:
    """What the configuration says of preprocessing, and else the source.

    A single mean or deviation is each channel's, as in timm. The source's are left
    out where they are of other channels than the model's.
    """
    height, width, channels = models.input_shape(config)
    by_source = {name: facts[name] for name in STATED if facts.get(name) is not None}
    for name in ("mean", "std"):
        values = by_source.get(name)
        if isinstance(values, (tuple, list)) and len(values) != channels:
            del by_source[name]
    by_user = {k: v for k, v in config.preprocessing.items() if v is not None}
    for name in ("mean", "std"):
        if len(by_user.get(name, ())) == 1:
            by_user[name] = by_user[name] * channels
    return {"input_size": [channels, height, width], **by_source, **by_user}  # timm's


def problems(stated: Mapping[str, Any]) -> list[str]:
    """Why what is stated does not say how images are prepared; [] where it does."""
    if missing := [f"{name} is not known" for name in NEEDED if name not in stated]:
        return missing
    try:
        DataConfig(**stated)
    except (TypeError, ValueError) as error:
        return str(error).splitlines()
    return []


def data_config(stated: Mapping[str, Any]) -> DataConfig | None:
    """The whole of it, or None where something is missing or not to be had."""
    return None if problems(stated) else DataConfig(**stated)
