"""Finds checkpoints of the AugReg release, and converts the best.

    python -m vit_tf.augreg --name=B/16,S/16 --min_speed=500
    python -m vit_tf.augreg --name=R26+S/32 --adapt_ds=imagenet2012 --best
    python -m vit_tf.augreg --max_params=30e6 --adapt_ds=cifar100 \\
        --convert --out=out/small
    python -m vit_tf.augreg --ds=i21k --stage=pretrained --sort=final_val

Filters are columns of the release's index.csv, which is fetched once, or read from
--index; several values are separated by commas. Without --best or --convert, prints
the rows that fit, the best first.
"""

import sys
from pathlib import Path

from absl import app, flags

from vit_tf.augreg import checkpoint, index, selection
from vit_tf.augreg.table import table

_INDEX = flags.DEFINE_string(
    "index", f"{index.FOLDER}/index.csv", "the index: a path, or where to fetch it"
)
_CHOICES = {
    column: flags.DEFINE_list(column, [], f"values of {column}; any of them fits")
    for column in selection.CHOICES
}
_BOUNDS = {
    name: flags.DEFINE_float(name, None, f"{column} {sign} this")
    for name, (column, _, sign) in selection.BOUNDS.items()
}
_STAGE = flags.DEFINE_enum(
    "stage", "finetuned", checkpoint.STAGES, "which of a row's two files is meant"
)
_SORT = flags.DEFINE_string("sort", "adapt_final_test", "a column, largest first")
_ASCENDING = flags.DEFINE_bool("ascending", False, "smallest first")
_LIMIT = flags.DEFINE_integer(
    "limit", 20, "how many rows are printed; 0 for all", lower_bound=0
)
_BEST = flags.DEFINE_bool("best", False, "the first row alone, and how to convert it")
_CONVERT = flags.DEFINE_bool("convert", False, "convert the first row's file")
_OUT = flags.DEFINE_string("out", None, "folder to write the bundle to")
_OVERWRITE = flags.DEFINE_bool("overwrite", False, "replace a bundle that is there")


def find() -> list[index.Row]:
    """The rows that the flags ask for, in the order that they ask for."""
    choices = {name: flag.value for name, flag in _CHOICES.items() if flag.value}
    bounds = {n: flag.value for n, flag in _BOUNDS.items() if flag.value is not None}
    rows = index.read_index(_local(_INDEX.value))
    rows = selection.select(rows, choices, bounds)
    rows = selection.ranked(rows, _SORT.value, ascending=_ASCENDING.value)
    return checkpoint.each_once(rows, _STAGE.value)


def run() -> str:
    """Does what the flags ask for; returns the last that is to be printed.

    Raises:
        ValueError, OSError: saying what is wrong.
    """
    if _CONVERT.value != bool(_OUT.value):
        raise index.AugRegError("expected: --convert and --out=DIR, or neither")
    rows, stage = find(), _STAGE.value
    if _CONVERT.value or _BEST.value:
        best = selection.best(rows, _SORT.value)
        print(table([best], stage), flush=True)
        if _CONVERT.value:
            return str(_converted(best))
        return checkpoint.command(best, stage, "DIR")
    shown = rows[: _LIMIT.value or None]
    return f"{table(shown, stage)}\n{len(shown)} of {len(rows)} checkpoints that fit"


def main(argv: list[str]) -> None:
    try:
        if argv[1:]:
            raise index.AugRegError(f"{argv[1]!r} found; expected: --NAME=VALUE only")
        print(run())
    except (ValueError, OSError) as error:
        sys.exit(f"vit_tf.augreg: error: {error}")


def _local(uri: str) -> Path:
    if "://" not in uri:
        return Path(uri)
    from vit_tf import checkpoints

    return checkpoints.fetch(uri)


def _converted(row: index.Row) -> object:
    from vit_tf import quiet

    quiet.import_tensorflow()
    quiet.drop_notes()
    return checkpoint.convert(
        row, _OUT.value, stage=_STAGE.value, overwrite=_OVERWRITE.value
    )


if __name__ == "__main__":
    app.run(main)
