"""Parameters of tests that take long, of which the suite runs some."""

from collections.abc import Iterable

import pytest


def of(values: Iterable, kept: Iterable) -> list:
    """Parameters of a test: with `--every_kind` all, without it those that are kept.

    A tuple is several parameters, as pytest has it.
    """
    kept, mark = list(kept), pytest.mark.every_kind
    return [
        value
        if value in kept
        else pytest.param(*(value if isinstance(value, tuple) else [value]), marks=mark)
        for value in values
    ]
