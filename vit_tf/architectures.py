"""Which architectures a checkpoint can be of."""

import functools
from collections.abc import Mapping
from typing import Any

import numpy as np

from vit_tf import models
from vit_tf.checkpoints.arguments import read_arguments, read_model_class
from vit_tf.models.vision_transformer import PATCH_POOLS

FREE = ("img_size", "in_chans", "num_classes")  # what users change


def candidates(
    tensors: Mapping[str, np.ndarray], stated: Mapping[str, Any] | None = None
) -> list[list[str]]:
    """The architectures whose arguments agree with what names and shapes tell.

    Args:
        tensors: timm name -> array; only shapes are looked at.
        stated: What is known beside them, such as a number of heads.

    Returns:
        A list of names for each model that it can be: they have the same arguments
        once the checkpoint's own are set, but for rates and what weights start from.
        The closest model first, and each one's closest name; empty if none fits. One
        list says that the tensors decide the model.
    """
    _, model_class = read_model_class(tensors)
    found: dict[str, list[tuple[int, str]]] = {}
    for name, arguments in _arguments().get(model_class, {}).items():
        read = read_arguments(tensors, model_class, arguments) | dict(stated or {})
        own = effective(arguments)
        whole = effective({**arguments, **read})
        differing = {key for key, value in whole.items() if value != own[key]}
        if differing <= set(FREE):
            key = repr(sorted(whole.items()))
            found.setdefault(key, []).append((len(differing), name))
    models_found = sorted(sorted(names) for names in found.values())
    return [[name for _, name in names] for names in models_found]


def closest(tensors: Mapping[str, np.ndarray], stated: Mapping[str, Any]) -> str:
    """The architecture of the same class that differs in the fewest arguments.

    Args:
        tensors: timm name -> array; only shapes are looked at. Of a known class.
        stated: What is known beside them.
    """
    _, model_class = read_model_class(tensors)

    def distance(name: str) -> int:
        arguments = _arguments()[model_class][name]
        read = read_arguments(tensors, model_class, arguments) | dict(stated)
        own, whole = effective(arguments), effective({**arguments, **read})
        return sum(value != own[key] for key, value in whole.items())

    return min(sorted(_arguments()[model_class]), key=distance)


def effective(arguments: Mapping[str, Any]) -> dict[str, Any]:
    """Arguments in one spelling: those that make the same model are equal.

    Rates, which matter in training only, are left out; of `init_values` stays whether
    there is a LayerScale.
    """
    found = {k: plain(v) for k, v in arguments.items() if not k.endswith("_rate")}
    if found.get("init_values") is not None:
        found["init_values"] = bool(found["init_values"])
    if "fc_norm" in found and found["fc_norm"] is None:
        found["fc_norm"] = found["global_pool"] in PATCH_POOLS
    if found.get("final_norm") is False:
        found["fc_norm"] = False
    return found


def plain(value: Any) -> Any:
    """A value as another spelling of it has it: 8, (8, 8) and [8, 8] are one size."""
    if isinstance(value, (list, tuple)):
        value = tuple(map(plain, value))
        return value[0] if len(value) == 2 and value[0] == value[1] else value
    return value


@functools.cache
def _arguments() -> dict[str, dict[str, dict[str, Any]]]:
    """Class -> architecture -> its constructor arguments."""
    found: dict[str, dict[str, dict[str, Any]]] = {}
    for name in models.list_models():
        config = models.get_config(name)
        found.setdefault(config.model_class, {})[name] = config.model.to_dict()
    return found
