"""Rows of the index as a table."""

import math
from collections.abc import Callable, Sequence

from vit_tf.augreg.checkpoint import filename
from vit_tf.augreg.index import KINDS, Row

COLUMNS: dict[str, tuple[str, Callable[..., str]]] = {  # title -> column, its text
    "model": ("name", str),
    "ds": ("ds", str),
    "aug": ("aug", str),
    "wd": ("wd", "{:g}".format),
    "do": ("do", "{:g}".format),
    "sd": ("sd", "{:g}".format),
    "lr": ("lr", "{:g}".format),
    "adapted to": ("adapt_ds", str),
    "pixels": ("adapt_resolution", "{:g}".format),
    "params": ("params", lambda number: f"{number / 1e6:.1f}M"),
    "images/s": ("infer_samples_per_sec", "{:.0f}".format),
    "val": ("adapt_final_val", "{:.4f}".format),
    "test": ("adapt_final_test", "{:.4f}".format),
}


def table(rows: Sequence[Row], stage: str) -> str:
    """A line each, with the file's name at its end; "-" for a number not given."""
    lines = [[*COLUMNS, "file"]]
    lines += [[*_cells(row), filename(row, stage)] for row in rows]
    kinds = [*(KINDS[column] for column, _ in COLUMNS.values()), str]
    columns = []
    for kind, cells in zip(kinds, zip(*lines, strict=True), strict=True):
        aligned = str.rjust if kind is float else str.ljust
        width = max(map(len, cells))
        columns.append([aligned(cell, width) for cell in cells])
    return "\n".join("  ".join(line).rstrip() for line in zip(*columns, strict=True))


def _cells(row: Row) -> list[str]:
    values = [(getattr(row, column), text) for column, text in COLUMNS.values()]
    return [
        "-" if isinstance(value, float) and math.isnan(value) else text(value)
        for value, text in values
    ]
