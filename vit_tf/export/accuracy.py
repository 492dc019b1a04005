"""How often a bundle was right, beside the original, in `assets.extra/accuracy.json`.

A list, an entry for each data set that the bundle was measured on:

dataset, split        what the data set is called
images                how many labelled images the bundle could read
top1, top5            parts of them, between 0 and 1
original              {images, top1, top5} of the original, or null
disagreements         on how many images their most likely classes differ, or null
"""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from vit_tf.export import whole_file
from vit_tf.export.bundle import BundleError, computing_hashes, digest

ACCURACY = Path("assets.extra/accuracy.json")


def read(folder: str | Path) -> list[dict[str, Any]]:
    """What was measured of a bundle; [] where nothing was."""
    path = Path(folder) / ACCURACY
    return json.loads(path.read_text()) if path.is_file() else []


def write(
    folder: str | Path, results: Mapping[str, Any], *, dataset: str, split: str = ""
) -> None:
    """Keeps a measurement in the bundle, in place of one of the same data set.

    Args:
        folder: The bundle.
        results: What `i1k_eval` found: its `results.json`.
        dataset: What the data set is called, e.g. "imagenet-1k": it was opened by an
            address that tells readers nothing.
        split: Which part of it.

    Raises:
        BundleError: if another bundle was measured, or no image has a label.
    """
    if results["run"]["bundle"] != digest(computing_hashes(Path(folder))):
        raise BundleError(
            f"{folder}: results of another bundle found ({results['bundle']}); "
            "expected: what was measured of this one, as it is now"
        )
    measured = _part(results["ported"])
    if not measured["images"]:
        raise BundleError(f"{folder}: results without labelled images found")
    entry = {
        "dataset": dataset,
        "split": split,
        **measured,
        "original": _part(results["original"]) if results["original"] else None,
        "disagreements": (results["comparison"] or {}).get("disagreements"),
    }
    others = [e for e in read(folder) if (e["dataset"], e["split"]) != (dataset, split)]
    text = json.dumps([*others, entry], indent=1)
    whole_file.write_text(Path(folder) / ACCURACY, text + "\n")


def _part(side: Mapping[str, Any]) -> dict[str, Any]:
    return {name: side[name] for name in ("images", "top1", "top5")}
