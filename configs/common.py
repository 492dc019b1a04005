"""What every configuration holds."""

import dataclasses
import inspect
import types
import typing
from collections.abc import Mapping
from typing import Any

from ml_collections import ConfigDict, config_dict


def get_config(
    family: str,
    variants: Mapping[str, Mapping[str, Any]],
    variant: str,
    *,
    model_class: str = "VisionTransformer",
) -> ConfigDict:
    """The configuration of one conversion.

    `config.model` holds the model's constructor arguments: timm's defaults, what the
    variant sets, and with a tag what the tag's weights need (timm is asked: image
    size, channels, classes, pooling).

    Args:
        family: The module of `vit_tf.models` that holds the model's class.
        variants: The family's table.
        variant: "name" or "name.tag".
        model_class: The class of the variants that do not name one.

    Raises:
        UnknownModelError: if the family has no such variant, or timm no such tag.
    """
    from vit_tf import models

    name, _, tag = variant.partition(".")
    if name not in variants:
        raise models.UnknownModelError(name, list(variants))
    arguments = dict(variants[name])
    model_class = arguments.pop("model_class", model_class)
    if tag:
        arguments |= tag_arguments(name, tag)
    return make_config(family, model_class, name, tag, arguments)


def make_config(
    family: str, model_class: str, name: str, tag: str, arguments: Mapping[str, Any]
) -> ConfigDict:
    """A configuration from constructor arguments; the others take their defaults.

    Raises:
        ValueError: if the model's class has no argument of a name, listing those it
            has, or a value is not of its argument's type.
    """
    from vit_tf import models
    from vit_tf.preprocessing import DataConfig

    parameters = models.parameters(models.model_class(family, model_class))
    if unknown := set(arguments) - set(parameters):
        raise ValueError(
            f"{model_class} has no argument {sorted(unknown)}; it has "
            f"{', '.join(parameters)}"
        )
    if misfits := _misfits(arguments, parameters):
        raise ValueError(f"{model_class}: {'; '.join(misfits)}")
    config = ConfigDict()
    config.architecture = name
    config.tag = tag
    config.family = family
    config.model_class = model_class
    config.model = ConfigDict()
    for argument, parameter in parameters.items():
        config.model[argument] = _field(parameter.default, parameter.annotation)
    with config.model.ignore_type():
        config.model.update(dict(arguments))

    config.inferred = False  # whether the architecture was told by a file's tensors
    config.dtype = "float32"  # of what is written: float64, mixed_bfloat16 ...

    config.preprocessing = ConfigDict()  # None: as the source says
    for field in dataclasses.fields(DataConfig):
        if field.name != "input_size":
            config.preprocessing[field.name] = _field(None, field.type)

    config.parity = ConfigDict()
    config.parity.enabled = True
    config.parity.reference = "timm"  # or jax: the function of the original JAX files
    config.parity.dtype = "float32"  # or float64: the proof
    config.parity.gradients = False  # in float64, whatever the dtype
    config.parity.images = 2  # random ones
    config.parity.seed = 0

    config.export = ConfigDict()
    config.export.representative = ""  # a folder of images, for full int8
    config.export.images = 100  # of those, at most
    return config


def check(config: ConfigDict) -> None:
    """What flags may have set to something else than can be.

    Raises:
        ValueError: listing every such field of the model, or of its preprocessing.
    """
    from vit_tf import models

    cls = models.model_class(config.family, config.model_class)
    misfits = _misfits(config.model, models.parameters(cls))
    wrong = [f"config.model.{misfit}" for misfit in misfits]
    if not wrong:  # its size and channels are those of the images
        misfits = _of_preprocessing(config)
        wrong = [f"config.preprocessing.{misfit}" for misfit in misfits]
    if wrong:
        raise ValueError("; ".join(wrong))


def _of_preprocessing(config: ConfigDict) -> list[str]:
    """What is wrong with what is said of preprocessing, whatever the source says."""
    from vit_tf import models
    from vit_tf.preprocessing import DataConfig

    said = {k: v for k, v in config.preprocessing.items() if v is not None}
    if not said:
        return []
    if misfits := _misfits(said, inspect.signature(DataConfig).parameters):
        return misfits
    height, width, channels = models.input_shape(config)
    for name in ("mean", "std"):
        values = said.get(name, (1.0,))
        said[name] = values * channels if len(values) == 1 else values
    try:
        DataConfig(**{"input_size": (channels, height, width), **said})
    except ValueError as error:
        return str(error).splitlines()
    return []


def tag_arguments(name: str, tag: str) -> dict[str, Any]:
    """The constructor arguments that timm derives from a pretrained tag."""
    from vit_tf import models, reference

    try:
        cfg = reference.pretrained_cfg(f"{name}.{tag}")
    except ValueError as error:
        raise models.UnknownModelError(f"{name}.{tag}", reference.tags(name)) from error
    channels, height, width = cfg["input_size"]
    arguments = {"in_chans": channels, "num_classes": cfg["num_classes"]}
    arguments["img_size"] = height if height == width else (height, width)
    if cfg.get("global_pool"):
        arguments["global_pool"] = cfg["global_pool"]
    return arguments


def _field(default: Any, annotation: Any) -> Any:
    """A field that a flag can override, also where its default is None."""
    kinds = typing.get_args(annotation) if _is_union(annotation) else (annotation,)
    kinds = [typing.get_origin(kind) or kind for kind in kinds]
    kinds = [kind for kind in kinds if kind is not types.NoneType]
    kind = kinds[0] if len(kinds) == 1 else object
    return config_dict.FieldReference(default, field_type=kind)


def _misfits(
    arguments: Mapping[str, Any], parameters: Mapping[str, inspect.Parameter]
) -> list[str]:
    return [
        f"{name}={value!r} found, {_name(parameters[name].annotation)} expected"
        for name, value in arguments.items()
        if not _fits(value, parameters[name].annotation)
    ]


def _fits(value: Any, annotation: Any) -> bool:
    """Whether a value is of an annotation's type; others than these are not judged."""
    if _is_union(annotation):
        return any(_fits(value, kind) for kind in typing.get_args(annotation))
    if typing.get_origin(annotation) is tuple:
        kinds = typing.get_args(annotation)
        if kinds[-1] is Ellipsis and isinstance(value, (tuple, list)):
            kinds = kinds[:1] * len(value)
        return (
            isinstance(value, (tuple, list))
            and len(value) == len(kinds)
            and all(map(_fits, value, kinds))
        )
    if annotation in (int, float) and isinstance(value, bool):
        return False
    if annotation is float:
        return isinstance(value, (int, float))
    if annotation in (bool, int, str, types.NoneType):
        return isinstance(value, annotation)
    return True


def _name(annotation: Any) -> str:
    kinds = typing.get_args(annotation)  # tuple[float, ...] is named "tuple"
    return (
        str(annotation) if kinds else getattr(annotation, "__name__", str(annotation))
    )


def _is_union(annotation: Any) -> bool:
    return isinstance(annotation, types.UnionType)
