"""The file that a row stands for, and timm's model for it."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from vit_tf.augreg.index import FOLDER, AugRegError, Row

if TYPE_CHECKING:
    from vit_tf.pipeline import Conversion

PRETRAINED_RESOLUTION = 224  # of all of them
STAGES = ("finetuned", "pretrained")
MODELS = {  # timm's names, without the resolution
    "Ti/16": "vit_tiny_patch16",
    "S/32": "vit_small_patch32",
    "S/16": "vit_small_patch16",
    "B/32": "vit_base_patch32",
    "B/16": "vit_base_patch16",
    "B/8": "vit_base_patch8",
    "L/16": "vit_large_patch16",
    "R+Ti/16": "vit_tiny_r_s16_p8",
    "R26+S/32": "vit_small_r26_s32",
    "R50+L/32": "vit_large_r50_s32",
}


def filename(row: Row, stage: str) -> str:
    """The fine-tuned checkpoint's name, or the pre-trained one's."""
    return {"finetuned": row.adapt_filename, "pretrained": row.filename}[stage]


def uri(row: Row, stage: str) -> str:
    """Where the file is."""
    return f"{FOLDER}/{filename(row, stage)}.npz"


def architecture(row: Row, stage: str) -> str:
    """timm's name of the model.

    Where timm has none of the row's resolution, that of 224 pixels: the image size is
    then the file's to say.

    Raises:
        AugRegError: if the row's model is not known.
    """
    from vit_tf import models

    if row.name not in MODELS:
        raise AugRegError(f"name={row.name!r} found; expected: {', '.join(MODELS)}")
    pixels = PRETRAINED_RESOLUTION
    if stage == "finetuned":
        pixels = row.adapt_resolution
    name = f"{MODELS[row.name]}_{pixels:g}"
    if models.list_models(name):
        return name
    return f"{MODELS[row.name]}_{PRETRAINED_RESOLUTION}"


def each_once(rows: Sequence[Row], stage: str) -> list[Row]:
    """The first row of each file: a pre-trained one was fine-tuned many times."""
    return list({filename(row, stage): row for row in reversed(rows)}.values())[::-1]


def command(row: Row, stage: str, directory: str | Path) -> str:
    """The command that converts a row's file."""
    return (
        f"python convert.py --model={architecture(row, stage)} "
        f"--checkpoint={uri(row, stage)} --out={directory}"
    )


def convert(
    row: Row,
    directory: str | Path,
    *,
    stage: str,
    overwrite: bool = False,
    progress: Callable[[str], None] = lambda step: None,
) -> "Conversion":
    """Converts a row's file; number of classes and image size are read from it.

    Raises:
        AugRegError: if the row's model is not known.
        ValueError, OSError: as `vit_tf.convert` does.
    """
    from vit_tf import pipeline

    return pipeline.convert(
        architecture(row, stage),
        directory,
        checkpoint=uri(row, stage),
        overwrite=overwrite,
        progress=progress,
    )
