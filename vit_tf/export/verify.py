"""What was written, read back and compared."""

from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import keras
import numpy as np
import tensorflow as tf

from vit_tf.activations import watch
from vit_tf.export.saved_model import is_attention
from vit_tf.parity import Report, compare_layers

Outputs = Mapping[str, Mapping[str, np.ndarray]]  # signature -> output name -> array

# A graph may be computed in another order than the layers one by one.
TOLERANCES = {"saved_model": 1e-5, "keras": 1e-5}


def expected_outputs(model: keras.Model, images: np.ndarray) -> Outputs:
    """What each signature of the written model must give for `images`."""
    attention: dict[str, np.ndarray] = {}

    def observe(name: str, output: tf.Tensor) -> None:
        if is_attention(name):
            attention[name] = output.numpy()

    with watch(model, observe):
        tokens = model.forward_features(tf.convert_to_tensor(images))
    features = model.forward_head(tokens, pre_logits=True)
    return {
        "serving_default": {"logits": model.forward_head(tokens).numpy()},
        "features": {"features": features.numpy(), "tokens": tokens.numpy()},
        "attention": attention,
    }


def shapes(outputs: Outputs) -> dict[str, dict[str, tuple[int, ...]]]:
    """signature -> output name -> shape."""
    return {
        signature: {name: value.shape for name, value in values.items()}
        for signature, values in outputs.items()
    }


def verify_saved_model(
    directory: Path, images: np.ndarray, expected: Outputs
) -> Report:
    """Loads the SavedModel from disk and runs every signature on `images`."""
    loaded = tf.saved_model.load(str(directory))

    def run(signature: str) -> dict[str, np.ndarray]:
        outputs = loaded.signatures[signature](tf.constant(images))
        return {name: value.numpy() for name, value in outputs.items()}

    with ThreadPoolExecutor() as pool:  # the first run of each optimises its graph
        found = dict(zip(expected, pool.map(run, expected), strict=True))
    tolerance = TOLERANCES["saved_model"]
    return compare_layers(
        _flat(expected), _flat(found), tolerance, "SavedModel read back"
    )


def verify_keras(path: Path, images: np.ndarray, expected: Outputs) -> Report:
    """Loads the `.keras` file from disk and runs the model on `images`."""
    model = keras.models.load_model(path)
    found = {"serving_default.logits": model(images).numpy()}
    reference = {k: v for k, v in _flat(expected).items() if k in found}
    return compare_layers(reference, found, TOLERANCES["keras"], ".keras read back")


def _flat(outputs: Outputs) -> dict[str, np.ndarray]:
    return {
        f"{signature}.{name}": value
        for signature, values in outputs.items()
        for name, value in values.items()
    }
