"""What a checkpoint holds."""

import dataclasses
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np


@dataclasses.dataclass(frozen=True)
class Contents:
    """What a checkpoint holds.

    Attributes:
        path: The file that was read; of a folder, its weights or their index.
        tensors: By the file's names, without what wraps all of them.
        config: `config.json` beside it, {} where there is none.
        key: Under which they were found, "model_ema"; "" for the file's top.
        prefix: Taken off the names, "module."; "" for nothing.
        beside: What else the file holds and is not read: "optimizer", "epoch".
        alternatives: Keys under which other models are: "model", "teacher".
    """

    path: Path
    tensors: Mapping[str, np.ndarray]
    config: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    key: str = ""
    prefix: str = ""
    beside: tuple[str, ...] = ()
    alternatives: tuple[str, ...] = ()
