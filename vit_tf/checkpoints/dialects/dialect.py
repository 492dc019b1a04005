"""What a dialect is: one project's way of naming a model's tensors."""

import dataclasses
from collections.abc import Callable, Collection, Mapping
from typing import Any

import numpy as np

Tensors = Mapping[str, np.ndarray]  # a whole checkpoint: name -> array


@dataclasses.dataclass(frozen=True)
class Translation:
    """A checkpoint in timm's names and layout.

    Attributes:
        tensors: timm name -> array.
        left_out: The file's name of a tensor that is no weight of timm's model -> why.
        family: The module of timm (and of `vit_tf.models`) that has the model's class,
            or "" where the names do not tell.
        arguments: What names and `config.json` tell of the constructor's arguments
            that no shape tells, by timm's names: number of heads, activation, eps.
        facts: What the report and the card say: `label_names`, one name a class.
    """

    tensors: Tensors
    left_out: Mapping[str, str] = dataclasses.field(default_factory=dict)
    family: str = ""
    arguments: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    facts: Mapping[str, Any] = dataclasses.field(default_factory=dict)


@dataclasses.dataclass(frozen=True)
class Dialect:
    """One project's way of naming a model's tensors.

    Attributes:
        name: What `--dialect` takes, e.g. "transformers".
        title: What the report says, e.g. "Hugging Face transformers".
        fits: Names of a checkpoint -> whether they are of this dialect. At most one
            dialect fits any file of a project that it is for.
        translate: (tensors, config) -> translation; `config` is the `config.json`
            beside the file, or {}.
    """

    name: str
    title: str
    fits: Callable[[Collection[str]], bool]
    translate: Callable[[Tensors, Mapping[str, Any]], Translation]
