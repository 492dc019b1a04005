"""Models by timm's names."""

import difflib
import fnmatch
import functools
import importlib
import inspect
import pkgutil
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from ml_collections import ConfigDict

if TYPE_CHECKING:
    import keras

    from vit_tf.preprocessing import DataConfig


class UnknownModelError(ValueError):
    """There is no model of that name. The message gives the closest."""

    def __init__(self, name: str, known: list[str]):
        self._arguments = (name, known)
        close = difflib.get_close_matches(name, known, n=4, cutoff=0.4)
        hint = "; vit_tf.list_models() gives all"
        if close:
            hint = f"; the closest are {', '.join(close)}"
        super().__init__(f"no model is named {name!r}{hint}")

    def __reduce__(self):
        return type(self), self._arguments  # so that it comes back from a process


def list_models(pattern: str = "*") -> list[str]:
    """timm's names of the architectures that vit_tf has, sorted.

    Args:
        pattern: A shell pattern, e.g. "deit_*".
    """
    return sorted(fnmatch.filter(_families_by_name(), pattern))


def get_config(name: str, **arguments: Any) -> ConfigDict:
    """The configuration of a model, ready for `convert`.

    Args:
        name: timm's name, "architecture" or "architecture.tag" (which needs timm).
        **arguments: Constructor arguments to change.

    Raises:
        UnknownModelError: if there is no such model.
        ValueError: if its class has no such argument.
    """
    from vit_tf.configs import common

    architecture, _, tag = name.partition(".")
    families = _families_by_name()
    if architecture not in families:
        raise UnknownModelError(architecture, list(families))
    family = families[architecture]
    config = _table(family).get_config(name)
    return common.make_config(
        family,
        config.model_class,
        architecture,
        tag,
        {**config.model.to_dict(), **arguments},
    )


def small_config(name: str, **arguments: Any) -> ConfigDict:
    """A model with all the options of `name`, small enough to compare in a second.

    Args:
        name: timm's name of an architecture.
        **arguments: Constructor arguments to change as well.

    Raises:
        UnknownModelError: if there is no such model.
        ValueError: if its class has no such argument.
    """
    config = get_config(name)
    return get_config(
        name, **{**_table(config.family).small(config.model), **arguments}
    )


def create_model(
    name: str,
    *,
    dtype: Any = None,
    model_name: str | None = None,
    features_only: bool = False,
    out_indices: int | list[int] | None = None,
    include_preprocessing: bool = False,
    data: "DataConfig | None" = None,
    **arguments: Any,
) -> "keras.Model":
    """A built Keras model with freshly initialised weights.

    Args:
        name: timm's name, "architecture" or "architecture.tag" (which needs timm).
        dtype: "float32", "float64", or a Keras dtype policy such as
            "mixed_bfloat16"; by default Keras's global policy.
        model_name: The Keras model's name; by default the architecture's.
        features_only: Whether to give a `FeatureGetter`, a backbone: feature maps
            (B, H, W, C) in place of logits.
        out_indices: Its blocks or stages: a number for the last so many, or a list.
            None is timm's default: all stages of a Swin, the last three blocks else.
        include_preprocessing: Whether to give a model that takes images as they are
            stored, files or uint8 (see `vit_tf.models.preprocessed`).
        data: How images are transformed then; by default as timm does it for the
            weights of that name (which needs timm), for the model's size.
        **arguments: Constructor arguments to change, e.g. `num_classes=5`,
            `img_size=(256, 192)`, `drop_path_rate=0.1`.

    Raises:
        UnknownModelError: if there is no such model.
        ValueError: if its class has no such argument or not as many features, or
            `out_indices` is given without `features_only`, or `data` without
            `include_preprocessing`; or `data` is not of the model's size.
    """
    if out_indices is not None and not features_only:
        raise ValueError(f"out_indices={out_indices} needs features_only=True")
    if data is not None and not include_preprocessing:
        raise ValueError("data needs include_preprocessing=True")
    config = get_config(name, **arguments)
    if include_preprocessing:
        data = _data_config(name, config, data)
    model = build(config, dtype=dtype, model_name=model_name)
    if features_only:
        from vit_tf.models.features import FeatureGetter

        named = f"{model.name}_features"
        model = FeatureGetter(model, out_indices, dtype=dtype, name=named)
    if not include_preprocessing:
        return model
    from vit_tf.models.preprocessed import Preprocessed

    return Preprocessed(model, data, name=f"{model.name}_preprocessed")


def build(
    config: ConfigDict, *, dtype: Any = None, model_name: str | None = None
) -> "keras.Model":
    """The built Keras model that a configuration describes."""
    cls = model_class(config.family, config.model_class)
    name = model_name or config.architecture
    model = cls(**config.model.to_dict(), dtype=dtype, name=name)
    model.build((None, *model.img_size, model.in_chans))
    return model


def input_shape(config: ConfigDict) -> tuple[int, int, int]:
    """(height, width, in_chans) of the images that a configured model takes."""
    size = config.model.img_size
    height, width = (size, size) if isinstance(size, int) else size
    return height, width, config.model.in_chans


def _data_config(
    name: str, config: ConfigDict, data: "DataConfig | None"
) -> "DataConfig":
    """How images are transformed for a model, of its size.

    Raises:
        ValueError: if `data` is for other images, or none is given and timm's are.
    """
    from vit_tf.preprocessing import DataConfig

    height, width, channels = input_shape(config)
    size = (channels, height, width)
    if data is None:
        from vit_tf import reference

        cfg = reference.pretrained_cfg(name)
        return DataConfig.from_json({**cfg, "input_size": size})
    if data.input_size != size and not config.model.dynamic_img_size:
        raise ValueError(f"data.input_size={data.input_size} found, {size} expected")
    return data


def model_class(family: str, name: str) -> type["keras.Model"]:
    """A model's class, from the module of its family."""
    return getattr(importlib.import_module(f"vit_tf.models.{family}"), name)


def import_families() -> None:
    """Imports every family's module, so that Keras knows all classes by name."""
    for module in pkgutil.iter_modules(__path__):
        importlib.import_module(f"vit_tf.models.{module.name}")


def parameters(cls: type["keras.Model"]) -> Mapping[str, inspect.Parameter]:
    """A model class's constructor arguments, its parents' included."""
    found: dict[str, inspect.Parameter] = {}
    for base in cls.__mro__:
        if not base.__module__.startswith("vit_tf."):
            break
        for name, parameter in inspect.signature(base.__init__).parameters.items():
            if name != "self" and parameter.kind is not parameter.VAR_KEYWORD:
                found.setdefault(name, parameter)
    return found


@functools.cache
def _families_by_name() -> dict[str, str]:
    """Architecture -> family, over all of `configs/`."""
    import vit_tf.configs

    families = [module.name for module in pkgutil.iter_modules(vit_tf.configs.__path__)]
    return {
        name: family
        for family in families
        for name in getattr(_table(family), "VARIANTS", ())
    }


def _table(family: str) -> Any:
    return importlib.import_module(f"vit_tf.configs.{family}")
