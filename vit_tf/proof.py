"""The comparison of a model with timm's, on random images.

The same tensors fill both. timm's side runs first and is let go: what stays of it are
its outputs.
"""

import dataclasses
from collections.abc import Callable, Mapping
from typing import Any

import keras
import numpy as np
from ml_collections import ConfigDict

from vit_tf import activations, checkpoints, mapping, models
from vit_tf.gradients import gradients
from vit_tf.layers.initializers import skip_init
from vit_tf.parity import LayerDiff, Report, layer_diff, report
from vit_tf.parity.disk import temporary_disk
from vit_tf.reference import Reference

TOLERANCES = {"float32": 1e-5, "float64": 1e-10}  # relative to a layer's largest value
GRADIENT_TOLERANCE = 1e-8  # in float64, relative to a gradient's largest value
IN_MEMORY = 1e9  # bytes of timm's outputs that wait there for ours, and not in files
ROUNDING = 1e-13  # what float64 leaves of a zero, relative to the largest gradient


def timm_outputs(
    config: ConfigDict,
    tensors: checkpoints.Tensors,
    images: np.ndarray,
    dtype: str,
    each: Callable[[str, np.ndarray], np.ndarray] = lambda name, output: output,
) -> dict[str, np.ndarray]:
    """What every layer of timm's model computes, or nothing if parity is off.

    `each` says what to keep of an output, given its name and the array.
    """
    if not config.parity.enabled:
        return {}
    return original(config, tensors, dtype).record(images.astype(dtype), each)


def compare_with_timm(
    config: ConfigDict,
    reference: Mapping[str, np.ndarray],
    model: keras.Model,
    images: np.ndarray,
    dtype: str,
    each: Callable[[str], None] = lambda name: None,
) -> list[Report]:
    """Every layer's output, ours against timm's, unless parity is off.

    Ours are compared as they come: only timm's are kept, from `timm_outputs`. `each` is
    called once a layer is compared, with its name.

    Raises:
        ParityError: if a layer differs.
    """
    if not config.parity.enabled:
        return []
    layers = layer_report(reference, model, images, dtype, each)
    layers.check()
    return [layers]


def layer_report(
    reference: Mapping[str, np.ndarray],
    model: keras.Model,
    images: np.ndarray,
    dtype: str,
    each: Callable[[str], None] = lambda name: None,
) -> Report:
    """Every layer's output, ours against timm's, whatever comes of it."""
    names = list(reference)

    def compared(name: str, output: np.ndarray) -> LayerDiff:
        diff = layer_diff(name, reference, output)
        each(name)
        return diff

    diffs = activations.record(model, images.astype(dtype), compared)
    return report(names, diffs, TOLERANCES[dtype], f"layers in {dtype}", with_timm=True)


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
    layers = "float64" in (config.parity.dtype, config.dtype)
    if not config.parity.enabled or not (layers or config.parity.gradients):
        return reports
    model = filled(config, tensors, "float64")
    if layers:
        progress("compare every layer in float64")
        with temporary_disk(IN_MEMORY) as disk:
            reference = timm_outputs(config, tensors, images, "float64", disk.keep)
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
    reference = original(config, tensors, "float64")
    gradients_of_timm = timm_gradients(config, reference, images)
    del reference  # before more memory is needed
    return gradient_report(config, gradients_of_timm, model, images)


def timm_gradients(
    config: ConfigDict, reference: Reference, images: np.ndarray
) -> dict[str, np.ndarray]:
    """Every parameter's gradient in timm's model."""
    return reference.gradients(images, _labels(config, images))


def gradient_report(
    config: ConfigDict,
    reference: Mapping[str, np.ndarray],
    model: keras.Model,
    images: np.ndarray,
) -> Report:
    """Every parameter's gradient, ours against timm's, whatever comes of it."""
    found = gradients(model, images.astype("float64"), _labels(config, images))
    diffs = {name: layer_diff(name, reference, found[name]) for name in found}
    diffs = _zeros_as_zeros(diffs)
    title = "gradients in float64"
    return report(reference, diffs, GRADIENT_TOLERANCE, title, with_timm=True)


def _labels(config: ConfigDict, images: np.ndarray) -> np.ndarray:
    rng = np.random.default_rng(config.parity.seed)
    outputs = config.model.num_classes or config.model.embed_dim
    return rng.integers(0, outputs, len(images))


def _zeros_as_zeros(diffs: Mapping[str, LayerDiff]) -> dict[str, LayerDiff]:
    """Differences of gradients that are zero, relative to the largest gradient.

    What is added to all logits before a softmax, a bias of keys or of CaiT's `proj_l`,
    has no influence. Both sides find what rounding leaves of a sum that is zero, which
    has no size of its own to be relative to.
    """
    largest = max(diff.scale for diff in diffs.values())
    rounding = ROUNDING * largest
    return {
        name: dataclasses.replace(diff, scale=largest)
        if diff.scale <= rounding and diff.error <= rounding
        else diff
        for name, diff in diffs.items()
    }


def random_images(config: ConfigDict) -> np.ndarray:
    """(parity.images, height, width, in_chans) float32, unit normal."""
    rng = np.random.default_rng(config.parity.seed)
    shape = (config.parity.images, *models.input_shape(config))
    return rng.standard_normal(shape, np.float32)


def filled(config: ConfigDict, tensors: checkpoints.Tensors, dtype: str) -> keras.Model:
    """The model that `config` describes, with `tensors` as its weights.

    What drops out of it begins with the same seeds each time: Keras would draw them.

    Raises:
        MappingError: if they are not, all and only, its weights.
    """
    with skip_init():
        model = models.build(config, dtype=dtype)
    mapping.assign(model, tensors)
    weights = {id(weight) for weight in model.weights}
    seeds = [v for v in model.variables if id(v) not in weights]
    for number, seed in enumerate(seeds):
        seed.assign([number, 0])
    return model


def original(config: ConfigDict, tensors: checkpoints.Tensors, dtype: str) -> Reference:
    """timm's model that `config` describes, with `tensors` as its weights.

    Raises:
        MappingError: if they are not, all and only, its weights.
    """
    arguments = shared_arguments(config)
    try:
        return Reference(config.architecture, tensors, arguments, dtype=dtype)
    except Exception:
        filled(config, tensors, dtype)  # our error lists what does not fit, on a line
        raise


def shared_arguments(config: ConfigDict) -> dict[str, Any]:
    """The constructor arguments that timm's class has, too.

    Those that are ours alone are named by our class, as `own_arguments`; the comparison
    is then of what both can do.
    """
    cls = models.model_class(config.family, config.model_class)
    own = getattr(cls, "own_arguments", ())
    return {k: v for k, v in config.model.to_dict().items() if k not in own}
