"""A layer named as one writes it in Python: "RmsNorm(eps=1e-5)"."""

import ast
import inspect
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any


def parse(text: str) -> tuple[str, dict[str, Any]]:
    """The name and the keyword arguments of a layer that a configuration names.

    timm takes classes and partials where a configuration holds text, so that it can be
    saved and set by a flag.

    Args:
        text: "Name" or "Name(argument=value, ...)", values being plain.

    Raises:
        ValueError: if it is neither.
    """
    try:
        node = ast.parse(text, mode="eval").body
        call = node if isinstance(node, ast.Call) else ast.Call(node, [], [])
        if isinstance(call.func, ast.Name) and not call.args:
            values = {k.arg: ast.literal_eval(k.value) for k in call.keywords}
            return call.func.id, values
    except (SyntaxError, ValueError):
        pass
    raise ValueError(f'{text!r}: expected "Name" or "Name(argument=value)"')


def resolve(text: str, known: Mapping[str, Callable[..., Any]]) -> Callable[..., Any]:
    """What makes the layer that `text` names.

    Args:
        text: As `parse` takes it.
        known: Name -> class.

    Raises:
        ValueError: if no layer of that name is known, or it has no such argument.
    """
    name, arguments = parse(text)
    if name not in known:
        raise ValueError(f"{text!r}: expected one of {', '.join(known)}")
    layer = known[name]
    accepted = {
        parameter
        for cls in inspect.getmro(getattr(layer, "func", layer))
        if cls.__module__.startswith("vit_tf.")
        for parameter in inspect.signature(cls.__init__).parameters
    } - {"self", "kwargs"}
    if unknown := sorted(arguments.keys() - accepted):
        raise ValueError(
            f"{text!r}: {name} has no argument {unknown}; it has {sorted(accepted)}"
        )
    return partial(layer, **arguments)
