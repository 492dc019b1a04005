"""Which rows of the index fit, and in what order."""

import math
import operator
from collections.abc import Callable, Mapping, Sequence

from vit_tf.augreg.index import KINDS, NUMBERS, AugRegError, Row

# Columns of which one asks for values, and bounds: flag -> column, comparison, sign.
CHOICES = (
    "name", "ds", "lr", "aug", "wd", "do", "sd", "adapt_ds", "adapt_lr", "adapt_steps",
    "adapt_resolution",
)  # fmt: skip
BOUNDS: dict[str, tuple[str, Callable[[float, float], bool], str]] = {
    "min_accuracy": ("adapt_final_test", operator.ge, ">="),
    "min_speed": ("infer_samples_per_sec", operator.ge, ">="),
    "max_params": ("params", operator.le, "<="),
}

MEASURED_ON = {  # an accuracy -> the column that says on which data
    "best_val": "ds",
    "final_val": "ds",
    "final_test": "ds",
    "adapt_final_val": "adapt_ds",
    "adapt_final_test": "adapt_ds",
}


def select(
    rows: Sequence[Row],
    choices: Mapping[str, Sequence[str]],
    bounds: Mapping[str, float],
) -> list[Row]:
    """The rows that fit all filters.

    Args:
        rows: Of the index.
        choices: Column of `CHOICES` -> values, as text; any of them fits.
        bounds: Name in `BOUNDS` -> the least or the most that fits.

    Raises:
        AugRegError: if a value is in no row, listing all such and what there is; or
            if no row fits, saying how many fit each filter alone.
    """
    _check_values(rows, choices)
    filters = {
        f"{column}={','.join(values)}": _is_one_of(column, values)
        for column, values in choices.items()
    }
    for name, bound in bounds.items():
        column, compare, sign = BOUNDS[name]
        filters[f"{column}{sign}{bound:g}"] = _is_within(column, compare, bound)
    fitting = [row for row in rows if all(fits(row) for fits in filters.values())]
    if not fitting:
        alone = (
            f"{name} alone fits {sum(map(fits, rows))}"
            for name, fits in filters.items()
        )
        raise AugRegError(f"none of {len(rows)} rows fits: {'; '.join(alone)}")
    return fitting


def ranked(rows: Sequence[Row], column: str, *, ascending: bool = False) -> list[Row]:
    """Rows by a column of numbers, the largest first; those without one last.

    Raises:
        AugRegError: if there is no such column of numbers.
    """
    if column not in NUMBERS:
        raise AugRegError(f"sort={column!r} found; expected: {', '.join(NUMBERS)}")
    sign = 1 if ascending else -1

    def key(row: Row) -> tuple[bool, float, str]:
        value = getattr(row, column)
        missing = math.isnan(value)
        return missing, 0 if missing else sign * value, row.adapt_filename

    return sorted(rows, key=key)


def best(rows: Sequence[Row], column: str) -> Row:
    """The first of ranked rows.

    Raises:
        AugRegError: if they were ranked by accuracies on different data.
    """
    if column in MEASURED_ON:
        data = {getattr(row, MEASURED_ON[column]) for row in rows}
        if len({name.removesuffix("_30") for name in data}) > 1:  # for fewer epochs
            raise AugRegError(
                f"{column} on {', '.join(sorted(data))} found, which do not compare; "
                f"expected: --{MEASURED_ON[column]}, one of them"
            )
    return rows[0]


def _check_values(rows: Sequence[Row], choices: Mapping[str, Sequence[str]]) -> None:
    problems = []
    for column, values in choices.items():
        known = {getattr(row, column) for row in rows}
        unknown = [value for value in values if _value(column, value) not in known]
        if unknown:
            there = ", ".join(_text(value) for value in sorted(known))
            problems.append(f"{column}={','.join(unknown)} found; expected: {there}")
    if problems:
        raise AugRegError("\n".join(problems))


def _is_one_of(column: str, values: Sequence[str]) -> Callable[[Row], bool]:
    wanted = {_value(column, value) for value in values}
    return lambda row: getattr(row, column) in wanted


def _is_within(
    column: str, compare: Callable[[float, float], bool], bound: float
) -> Callable[[Row], bool]:
    return lambda row: compare(getattr(row, column), bound)


def _value(column: str, text: str) -> str | float | None:
    """What `text` stands for in a column; None if it is no number where those are."""
    if KINDS[column] is str:
        return text
    try:
        return float(text)
    except ValueError:
        return None


def _text(value: str | float) -> str:
    return value if isinstance(value, str) else f"{value:g}"
