"""Compares architectures with timm's, filled with the same random tensors.

    python -m vit_tf.parity --all --small
    python -m vit_tf.parity --models='deit_*' --full --rows=rows.jsonl --out=parity.md

One line each: the number of tensors and parameters, and the layer that differs most in
float32, that in float64, and the parameter whose gradient (in float64) does, relative
to the largest value of each. Exits with 1 if anything is beyond its tolerance.
"""

import shlex
import sys
from pathlib import Path

from absl import app, flags

from vit_tf import models, quiet

_ALL = flags.DEFINE_bool("all", False, "every architecture that vit_tf has")
_MODELS = flags.DEFINE_string("models", "", "or those that a shell pattern fits")
_SMALL = flags.DEFINE_bool("small", False, "all options, little width and depth")
_FULL = flags.DEFINE_bool("full", False, "real sizes, as far as they fit in memory")
_ROWS = flags.DEFINE_string("rows", None, "a file to keep rows in, and to resume from")
_OUT = flags.DEFINE_string("out", None, "where to write the table, in Markdown")

MEMORY_SHARE = 0.7  # of what is free, for one comparison


def main(argv: list[str]) -> int:
    if _ALL.value == bool(_MODELS.value) or _SMALL.value == _FULL.value:
        raise app.UsageError("expected: --all or --models, and --small or --full")
    out = _OUT.value and Path(_OUT.value)
    if out and not out.parent.is_dir():
        raise app.UsageError(f"--out={out}: no such folder: {out.parent}")
    names = models.list_models(_MODELS.value or "*")
    if not names:
        raise app.UsageError(f"no architecture fits {_MODELS.value!r}")
    quiet.import_tensorflow()
    quiet.drop_notes()
    import psutil

    from vit_tf.parity import table

    if _SMALL.value:
        configure, compare = models.small_config, table.compare
    else:
        configure, compare = table.full_config, table.compare_apart

    def memory() -> float:
        if _SMALL.value:
            return float("inf")
        return MEMORY_SHARE * psutil.virtual_memory().available

    print(table.header(), flush=True)
    rows = []
    kept = _ROWS.value and Path(_ROWS.value)
    try:
        for row in table.run(names, configure, compare, memory=memory, rows=kept):
            print(table.text(row), flush=True)
            rows.append(row)
    except OSError as error:
        print(f"parity: {error}", file=sys.stderr)
        return 1
    failed = [row for row in rows if row.problems or not row.worst]
    whole = sum(row.whole for row in rows)
    print(
        f"{len(rows)} architectures: {whole} compared and the same, "
        f"{len(rows) - whole - len(failed)} compared in part and the same, "
        f"{len(failed)} not the same or not compared"
    )
    if out:
        command = "python -m vit_tf.parity " + shlex.join(sys.argv[1:])
        out.write_text(table.document(rows, command))
    return 1 if failed else 0


if __name__ == "__main__":
    app.run(main)
