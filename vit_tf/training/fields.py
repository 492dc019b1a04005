"""Whether the fields of a value are what they should be."""

from collections.abc import Mapping
from typing import Any


def check_fields(value: Any, expected: Mapping[str, tuple[bool, str]]) -> None:
    """
    Args:
        value: What has the fields.
        expected: Of each field that is looked at, whether it is right, and what is.

    Raises:
        ValueError: listing every one that is not.
    """
    if wrong := [
        f"{name}={getattr(value, name)!r} found, {text} expected"
        for name, (right, text) in expected.items()
        if not right
    ]:
        raise ValueError("\n".join(wrong))
