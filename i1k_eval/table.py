"""Makes one table of many runs.

    python -m i1k_eval.table out/i1k_eval
    python -m i1k_eval.table out/a out/b --format=csv > table.csv

Each argument is a results.json, or a folder with some in it, at any depth.
"""

import csv
import io
import json
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from absl import flags

from i1k_eval.errors import EvaluationError
from vit_tf import command

RESULTS = "results.json"
COLUMNS = (
    "model", "data", "images", "unreadable", "top-1 original", "top-1 ported",
    "top-5 original", "top-5 ported", "disagreements", "image size", "parameters",
    "images/s",
)  # fmt: skip
FLAGS = flags.FlagValues()  # of this command, beside those of others
flags.DEFINE_enum(
    "format", "markdown", ["markdown", "csv"], "of the table", flag_values=FLAGS
)
flags.DEFINE_bool("debug", False, "show where an error comes from", flag_values=FLAGS)
flags.DEFINE_bool("help", False, "show this", flag_values=FLAGS)


def read(places: Sequence[str | Path]) -> list[dict[str, Any]]:
    """What runs found, in the order of the places, and by name in each.

    Raises:
        EvaluationError: if there is none at a place, or a file is no such results.
    """
    found = []
    for place in map(Path, places):
        files = [place] if place.is_file() else sorted(place.rglob(RESULTS))
        if not files:
            raise EvaluationError(f"{place}: no {RESULTS} found there")
        found += [_read(file) for file in files]
    return found


def markdown(results: Sequence[Mapping[str, Any]]) -> str:
    """The table with numbers as people read them: accuracies in percent."""
    rows = [[_text(name, row[name]) for name in COLUMNS] for row in map(_row, results)]
    right = ["---" if name in ("model", "data") else "---:" for name in COLUMNS]
    return "\n".join(f"| {' | '.join(row)} |" for row in (COLUMNS, right, *rows))


def as_csv(results: Sequence[Mapping[str, Any]]) -> str:
    """The table with numbers as programs read them: accuracies as parts of 1."""
    text = io.StringIO()
    writer = csv.DictWriter(text, COLUMNS, lineterminator="\n")
    writer.writeheader()
    writer.writerows(map(_row, results))
    return text.getvalue().rstrip("\n")


def _row(results: Mapping[str, Any]) -> dict[str, Any]:
    original = results["original"] or {}
    comparison = results["comparison"] or {}
    ported = results["ported"]
    _, height, width = results["input_size"]
    return {
        "model": results["name"],
        "data": results["run"]["data"],
        "images": ported["images"],
        "unreadable": len(results["unreadable"]),
        "top-1 original": original.get("top1"),
        "top-1 ported": ported["top1"],
        "top-5 original": original.get("top5"),
        "top-5 ported": ported["top5"],
        "disagreements": comparison.get("disagreements"),
        "image size": f"{height}x{width}",
        "parameters": results["parameters"],
        "images/s": ported["images_per_second"],
    }


def _text(column: str, value: Any) -> str:
    if value is None:
        return "-"
    if column.startswith("top-"):
        return f"{100 * value:.3f}"
    if column == "images/s":
        return f"{value:,.1f}"
    if isinstance(value, int):
        return f"{value:,}"
    return value.replace("|", "\\|")


def _read(file: Path) -> dict[str, Any]:
    try:
        found = json.loads(file.read_text())
        _row(found)
    except (ValueError, LookupError, TypeError, AttributeError) as error:
        raise EvaluationError(
            f"{file} is not what i1k_eval writes: {error!r}"
        ) from error
    return found


def run(argv: list[str]) -> None:
    """Runs the command; one clear message and a non-zero exit where it fails."""
    command.run("i1k_eval.table", main, argv)


def main(argv: list[str]) -> None:
    places = command.parse(FLAGS, argv, __doc__)
    if not places:
        raise ValueError("no folder found; expected: where results were written")
    print((as_csv if FLAGS.format == "csv" else markdown)(read(places)))


if __name__ == "__main__":
    run(sys.argv)
