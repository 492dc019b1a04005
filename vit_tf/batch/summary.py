"""A batch as a table: a row for each job, with what it came to and what it cost."""

import csv
import io
import json
from collections.abc import Sequence
from typing import Any

from vit_tf.batch.ledger import DONE, Entry

COLUMNS = (
    "name", "architecture", "state", "parity", "tensors", "parameters", "bytes",
    "seconds", "cpu_seconds", "peak_bytes", "error",
)  # fmt: skip
TEXTS = ("name", "architecture", "state", "error")


def rows(entries: Sequence[Entry]) -> list[dict[str, Any]]:
    """A row for each entry, by column; None where something is not known.

    "parity" is the largest of all relative errors: of layers, and of what was read
    back.
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
        facts["parity"] = max(facts["parity"].values(), default=None)
    return {"name": entry.name, "state": entry.state, **facts}


def _cell(column: str, value: Any) -> str:
    if value is None:
        return "-"
    if column == "parity":
        return f"{value:.1e}"
    if isinstance(value, float):
        return f"{value:,.1f}"
    if isinstance(value, int):
        return f"{value:,}"
    return " ".join(value.split()).replace("|", "\\|")
