"""The release's `index.csv`: one row for each fine-tuning of a pre-trained model."""

import csv
import dataclasses
import math
from pathlib import Path

FOLDER = "gs://vit_models/augreg"


class AugRegError(ValueError):
    """The index cannot be read, or nothing in it is what was asked for."""


@dataclasses.dataclass(frozen=True)
class Row:
    """A fine-tuned checkpoint, and the pre-trained one that it began from.

    The columns' own names; a number that the index does not give is NaN.

    Attributes:
        name: The model, e.g. "B/16" or "R26+S/32".
        ds: What it was pre-trained on: "i1k", "i21k", or "i21k_30" (30 epochs).
        lr: Learning rate of the pre-training.
        aug: Its augmentation, from "none" to "strong2".
        wd: Its weight decay.
        do: Its dropout rate.
        sd: Its stochastic depth rate.
        best_val: Its best accuracy in validation.
        final_val: Its last accuracy in validation.
        final_test: Its last accuracy in the test.
        adapt_ds: What it was fine-tuned on, e.g. "imagenet2012".
        adapt_lr: Learning rate of the fine-tuning.
        adapt_steps: Its number of steps.
        adapt_resolution: Its image size, in pixels.
        adapt_final_val: Its last accuracy in validation.
        adapt_final_test: Its last accuracy in the test.
        params: Number of parameters.
        infer_samples_per_sec: Images a second, by timm's model on a V100.
        filename: The pre-trained checkpoint's, without ".npz".
        adapt_filename: The fine-tuned checkpoint's, without ".npz".
    """

    name: str
    ds: str
    lr: float
    aug: str
    wd: float
    do: float
    sd: float
    best_val: float
    final_val: float
    final_test: float
    adapt_ds: str
    adapt_lr: float
    adapt_steps: float
    adapt_resolution: float
    adapt_final_val: float
    adapt_final_test: float
    params: float
    infer_samples_per_sec: float
    filename: str
    adapt_filename: str


KINDS = {field.name: field.type for field in dataclasses.fields(Row)}  # of columns
NUMBERS = tuple(column for column, kind in KINDS.items() if kind is float)


def read_index(path: str | Path) -> list[Row]:
    """The rows of an `index.csv`. Columns that `Row` does not have are passed over.

    Raises:
        AugRegError: if it is no such file, naming the columns that are missing, or
            lines that hold no number where one belongs.
        OSError: if it cannot be opened.
    """
    try:
        with Path(path).open(newline="", encoding="utf-8") as file:
            reader = csv.DictReader(file)
            found = reader.fieldnames or []
            if missing := [column for column in KINDS if column not in found]:
                raise AugRegError(
                    f"{path}: no column {', '.join(missing)} found; expected: AugReg's "
                    f"index.csv, with {', '.join(KINDS)}"
                )
            problems: list[str] = []
            rows = [_row(line, reader.line_num, problems) for line in reader]
    except (UnicodeDecodeError, csv.Error) as error:
        raise AugRegError(f"{path}: not a CSV file ({error})") from error
    if problems:
        shown = [*problems[:8], *(["..."] if problems[8:] else [])]
        raise AugRegError(
            f"{path}: {len(problems)} values are no numbers:\n" + "\n".join(shown)
        )
    if not rows:
        raise AugRegError(f"{path}: no rows found")
    return rows


def _row(line: dict[str, str | None], number: int, problems: list[str]) -> Row:
    values = {}
    for column, kind in KINDS.items():
        text = (line[column] or "").strip()
        values[column] = text if kind is str else _number(text)
        if values[column] is None:
            problems.append(f"   line {number}: {column}={text!r}")
    return Row(**values)


def _number(text: str) -> float | None:
    if not text:
        return math.nan
    try:
        return float(text)
    except ValueError:
        return None
