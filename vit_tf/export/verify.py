"""What was written, read back and compared."""

import functools
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from vit_tf.activations import watch
from vit_tf.export.samples import Outputs, Samples
from vit_tf.export.saved_model import is_attention, run
from vit_tf.parity import Report, compare_layers

# A graph may be computed in another order than the layers one by one; in half
# precision its operations also round at other places, and once each.
TOLERANCES = {
    "float64": 1e-10,
    "float32": 1e-5,
    "mixed_bfloat16": 0.1,
    "mixed_float16": 0.0125,
}


def expected_outputs(model: keras.Model, images: np.ndarray) -> Outputs:
    """What each signature of the written model must give for `images`."""
    outputs = run(model, functools.partial(_outputs, model), tf.constant(images))
    return tf.nest.map_structure(lambda x: x.numpy(), outputs)


def outputs(model: keras.Model, images: np.ndarray) -> np.ndarray:
    """What the model gives for `images`, as its SavedModel must."""
    return run(model, model, tf.constant(images)).numpy()


def compare_dtype(reference: Outputs, expected: Outputs, dtype: str) -> Report:
    """What a model computes in `dtype`, against the same model in float32."""
    return compare_layers(
        _flat(reference), _flat(expected), TOLERANCES[dtype], f"{dtype} from float32"
    )


def verify_saved_model(
    loaded: Any,
    images: np.ndarray,
    expected: Outputs,
    dtype: str = "float32",
    samples: Samples | None = None,
) -> tuple[Report, dict[str, np.ndarray]]:
    """Runs every signature of a SavedModel.

    Args:
        loaded: What `tf.saved_model.load` gave of it.
        images: What those that take float images are given.
        expected: What they must give.
        dtype: What the model computes in.
        samples: Files, and what the others must give for them.

    Returns:
        What the signatures gave; and what the model was given of each file.
    """
    calls = {name: {"images": tf.constant(images)} for name in expected}
    if samples is not None:
        calls |= samples.calls()

    def served(signature: str) -> dict[str, np.ndarray]:
        outputs = loaded.signatures[signature](**calls[signature])
        return {name: value.numpy() for name, value in outputs.items()}

    with ThreadPoolExecutor() as pool:  # the first run of each optimises its graph
        given = pool.submit(_preprocessed, loaded, samples)
        found = dict(zip(calls, pool.map(served, calls), strict=True))
    if samples is not None:
        expected = {**expected, **samples.expected(found)}
        found = {**found, **samples.comparable(found)}
    title = "SavedModel read back"
    report = compare_layers(_flat(expected), _flat(found), TOLERANCES[dtype], title)
    return report, given.result()


def _preprocessed(loaded: Any, samples: Samples | None) -> dict[str, np.ndarray]:
    """file -> what a SavedModel makes of it."""
    if samples is None:
        return {}
    images = loaded.preprocess(tf.constant([*samples.files.values()]))
    return dict(zip(samples.files, images.numpy(), strict=True))


def _outputs(model: keras.Model, images: tf.Tensor) -> dict[str, dict[str, tf.Tensor]]:
    attention: dict[str, tf.Tensor] = {}

    def observe(name: str, output: tf.Tensor) -> None:
        if is_attention(name):
            attention[name] = output

    with watch(model, observe):
        tokens = model.forward_features(images)
    features = model.forward_head(tokens, pre_logits=True)
    return {
        "serving_default": {"logits": model.forward_head(tokens)},
        "features": {"features": features, "tokens": tokens},
        "attention": attention,
    }


def _flat(outputs: Outputs) -> dict[str, np.ndarray]:
    return {
        f"{signature}.{name}": value
        for signature, values in outputs.items()
        for name, value in values.items()
    }
