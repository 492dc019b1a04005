"""A batch as a table: a row for each job, with what it came to and what it cost."""

import csv
import io
import json
from collections.abc import Sequence
from typing import Any

from vit_tf.batch.ledger import DONE, Entry
from vit_tf.export.formats import FORMATS, read_back

COLUMNS = (
    "name", "architecture", "state", "parity", "formats", "tensors", "parameters",
    "bytes", "seconds", "cpu_seconds", "peak_bytes", "error",
)  # fmt: skip
TEXTS = ("name", "architecture", "state", "error")
ERRORS = ("parity", "formats")


def rows(entries: Sequence[Entry]) -> list[dict[str, Any]]:
    """A row for each entry, by column; None where something is not known.

    "parity" is the largest relative error of layers, gradients and the SavedModel that
    was read back; "formats" that of the other formats, which have tolerances of their
    own; None where there are none.
    """
    return [{name: _fields(entry).get(name) for name in COLUMNS} for entry in entries]


def as_json(entries: Sequence[Entry]) -> str:
    """The rows as a list in JSON."""
    return json.dumps(rows(entries), indent=1)


def as_csv(entries: Sequence[Entry]) -> str:
    """The rows with numbers as programs read them."""
    text = io.StringIO()
    writer = csv.DictWriter(text, COLUMNS, lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows(entries))
    return text.getvalue()


def markdown(entries: Sequence[Entry]) -> str:
    """The rows with numbers as people read them."""
    lines = [COLUMNS, ["---" if name in TEXTS else "---:" for name in COLUMNS]]
    lines += [[_cell(name, row[name]) for name in COLUMNS] for row in rows(entries)]
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)


def _fields(entry: Entry) -> dict[str, Any]:
    facts = dict(entry.facts)
    if entry.state == DONE:
        found, names = facts["parity"], {read_back(name) for name in FORMATS}
        parts = {"parity": found.keys() - names, "formats": found.keys() & names}
        for column, titles in parts.items():
            facts[column] = max((found[title] for title in titles), default=None)
    return {"name": entry.name, "state": entry.state, **facts}


def _cell(column: str, value: Any) -> str:
    if value is None:
        return "-"
    if column in ERRORS:
        return f"{value:.1e}"
    if isinstance(value, float):
        return f"{value:,.1f}"
    if isinstance(value, int):
        return f"{value:,}"
    return " ".join(value.split()).replace("|", "\\|")
