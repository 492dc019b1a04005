"""The comparison of a model with timm's, on random images.

The same tensors fill both. timm's side runs first and is let go: what stays of it are
its outputs.
"""

from collections.abc import Callable, Mapping

import keras
import numpy as np
from ml_collections import ConfigDict

from vit_tf import activations, checkpoints, mapping, models
from vit_tf.gradients import gradients
from vit_tf.layers.initializers import skip_init
from vit_tf.parity import Report, layer_diff, report
from vit_tf.reference import Reference

TOLERANCES = {"float32": 1e-5, "float64": 1e-10}  # relative to a layer's largest value
GRADIENT_TOLERANCE = 1e-8  # in float64, relative to a gradient's largest value


def timm_outputs(
    config: ConfigDict, tensors: checkpoints.Tensors, images: np.ndarray, dtype: str
) -> dict[str, np.ndarray]:
    """What every layer of timm's model computes, or nothing if parity is off."""
    if not config.parity.enabled:
        return {}
    return original(config, tensors, dtype).record(images.astype(dtype))


def compare_with_timm(
    config: ConfigDict,
    reference: Mapping[str, np.ndarray],
    model: keras.Model,
    images: np.ndarray,
    dtype: str,
) -> list[Report]:
    """Every layer's output, ours against timm's, unless parity is off.

    Ours are compared as they come: only timm's are kept.

    Raises:
        ParityError: if a layer differs.
    """
    if not config.parity.enabled:
        return []
    diffs = activations.record(
        model,
        images.astype(dtype),
        each=lambda name, output: layer_diff(name, reference, output),
    )
    title = f"layers in {dtype}"
    layers = report(reference, diffs, TOLERANCES[dtype], title, with_timm=True)
    layers.check()
    return [layers]


def prove_in_float64(
    config: ConfigDict,
    tensors: checkpoints.Tensors,
    images: np.ndarray,
    progress: Callable[[str], None] = lambda step: None,
) -> list[Report]:
    """The same model in double precision: layers and gradients, as far as asked for.

    Raises:
        ParityError: if a layer or a gradient differs.
    """
    reports: list[Report] = []
    layers = config.parity.dtype == "float64"
    if not config.parity.enabled or not (layers or config.parity.gradients):
        return reports
    model = filled(config, tensors, "float64")
    if layers:
        progress("compare every layer in float64")
        reference = timm_outputs(config, tensors, images, "float64")
        reports += compare_with_timm(config, reference, model, images, "float64")
    if config.parity.gradients:
        progress("compare every gradient in float64")
        reports.append(compare_gradients(config, tensors, model, images))
        reports[-1].check()
    return reports


def compare_gradients(
    config: ConfigDict,
    tensors: checkpoints.Tensors,
    model: keras.Model,
    images: np.ndarray,
) -> Report:
    """Every parameter's gradient, ours against timm's, both in float64."""
    images = images.astype("float64")
    rng = np.random.default_rng(config.parity.seed)
    outputs = config.model.num_classes or config.model.embed_dim
    labels = rng.integers(0, outputs, len(images))
    reference = original(config, tensors, "float64").gradients(images, labels)
    found = gradients(model, images, labels)
    diffs = {name: layer_diff(name, reference, found[name]) for name in found}
    title = "gradients in float64"
    return report(reference, diffs, GRADIENT_TOLERANCE, title, with_timm=True)


def random_images(config: ConfigDict) -> np.ndarray:
    """(parity.images, height, width, in_chans) float32, unit normal."""
    rng = np.random.default_rng(config.parity.seed)
    shape = (config.parity.images, *models.input_shape(config))
    return rng.standard_normal(shape, np.float32)


def filled(config: ConfigDict, tensors: checkpoints.Tensors, dtype: str) -> keras.Model:
    """The model that `config` describes, with `tensors` as its weights.

    Raises:
        MappingError: if they are not, all and only, its weights.
    """
    with skip_init():
        model = models.build(config, dtype=dtype)
    mapping.assign(model, tensors)
    return model


def original(config: ConfigDict, tensors: checkpoints.Tensors, dtype: str) -> Reference:
    """timm's model that `config` describes, with `tensors` as its weights.

    Raises:
        MappingError: if they are not, all and only, its weights.
    """
    arguments = config.model.to_dict()
    try:
        return Reference(config.architecture, tensors, arguments, dtype=dtype)
    except Exception:
        filled(config, tensors, dtype)  # our error lists what does not fit, on a line
        raise
