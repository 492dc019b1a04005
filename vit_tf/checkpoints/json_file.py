"""JSON files beside weights, which may say anything."""

import json
from pathlib import Path
from typing import Any

from vit_tf.checkpoints.errors import CorruptCheckpointError, TooLargeCheckpointError

LIMIT = 64 << 20  # bytes: the largest index of a sharded model is a few megabytes


def read_json(path: Path) -> dict[str, Any]:
    """The object that a file holds.

    Raises:
        CorruptCheckpointError: if it is not JSON, or no object, or states a name twice.
        TooLargeCheckpointError: if it is larger than any that there is.
    """
    size = path.stat().st_size
    if size > LIMIT:
        raise TooLargeCheckpointError(
            f"{path}: {size:,} bytes of JSON found, at most {LIMIT:,} expected"
        )
    try:
        content = parse_json(path.read_bytes())
    except (ValueError, RecursionError) as error:
        raise CorruptCheckpointError(f"{path}: not JSON ({error})") from error
    if not isinstance(content, dict):
        raise CorruptCheckpointError(
            f"{path}: {type(content).__name__} found; expected: a JSON object"
        )
    return content


def parse_json(text: bytes) -> Any:
    """
    Raises:
        ValueError, RecursionError: if it is not JSON, or states a name twice.
    """
    return json.loads(text, object_pairs_hook=_object)


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        seen: set[str] = set()
        twice = next(name for name, _ in pairs if name in seen or seen.add(name))
        raise ValueError(f"{twice!r} is stated twice")
    return found
