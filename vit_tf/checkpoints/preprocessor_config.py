"""How transformers prepares images: `preprocessor_config.json`, in timm's words."""

from pathlib import Path
from typing import Any

from vit_tf.checkpoints.json_file import read_json
from vit_tf.checkpoints.local_dir import WEIGHTS

NAME = "preprocessor_config.json"
INTERPOLATIONS = {0: "nearest", 1: "lanczos", 2: "bilinear", 3: "bicubic"}  # PIL's


def facts_beside(weights: Path) -> dict[str, Any]:
    """What is stated beside a file of weights, as timm's `pretrained_cfg` says it.

    Returns:
        Of `mean`, `std`, `interpolation`, `crop_pct` and `crop_mode` those that are
        stated; {} where there is no such file.

    Raises:
        CheckpointError: if it is not a JSON object.
    """
    path = weights.with_name(NAME)
    if weights.name not in WEIGHTS or not path.is_file():
        return {}
    stated = read_json(path)
    facts: dict[str, Any] = {}
    for name in ("mean", "std"):
        if isinstance(stated.get(f"image_{name}"), list):
            facts[name] = tuple(stated[f"image_{name}"])
    if stated.get("resample") in INTERPOLATIONS:
        facts["interpolation"] = INTERPOLATIONS[stated["resample"]]
    return facts | _crop(stated)


def _crop(stated: dict[str, Any]) -> dict[str, Any]:
    """A side is resized and the middle cut out, or the whole image is squeezed."""
    size, crop = _size(stated.get("size")), _size(stated.get("crop_size"))
    if size is None:
        return {}
    if stated.get("do_center_crop") and crop is not None:
        return {"crop_pct": crop / size, "crop_mode": "center"}
    return {"crop_pct": 1.0, "crop_mode": "squash"}


def _size(stated: Any) -> int | None:
    """A side in pixels, as releases of transformers have written it."""
    if isinstance(stated, dict):
        stated = stated.get("shortest_edge", stated.get("height"))
    return stated if isinstance(stated, int) and stated > 0 else None
