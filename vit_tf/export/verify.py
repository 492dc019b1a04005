"""What was written, read back and compared."""

import contextlib
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from vit_tf.activations import watch
from vit_tf.export.samples import PIXELS, Outputs, Samples
from vit_tf.export.saved_model import SERVING_DEFAULT, in_float32, is_attention, run
from vit_tf.parity import LOGITS, Report, compare_layers

# A graph may be computed in another order than the layers one by one; in half
# precision its operations also round at other places, and once each.
TOLERANCES = {
    "float64": 1e-10,
    "float32": 1e-5,
    "mixed_bfloat16": 0.1,
    "mixed_float16": 0.0125,
}


BATCH = 2  # images that logits are compared of: the first tells nothing of the second


def expected_outputs(
    model: keras.Model, images: np.ndarray, first: int | None = None
) -> Outputs:
    """What each signature of the written model must give for `images`.

    Or for the `first` of them, as `collected` keeps it.
    """
    with collected(model, first or len(images)) as expected:
        run(model, model, tf.constant(images))
    return expected


@contextlib.contextmanager
def collected(model: keras.Model, images: int = 1) -> Iterator[dict[str, Any]]:
    """Keeps, of a run of a model within it, what each signature must give.

    So a model that runs for another reason need not run again. One layer after the
    other, a small model takes longer for that than for its arithmetic.

    Args:
        model: A model, which is to run once, in inference.
        images: Of how many of the images, the first, it is kept; logits, which are
            small, of `BATCH` at least.

    Yields:
        signature -> name of the output -> array; it is filled at the end.
    """
    expected: dict[str, Any] = {}
    seen: dict[str, np.ndarray] = {}
    batch, tokens = 0, None
    forward_features = model.forward_features

    def kept(output: tf.Tensor, of_images: int = images) -> np.ndarray:
        rows = len(output) // batch * of_images  # an image may have many windows
        return in_float32(output[:rows]).numpy()

    def forward_and_keep(x: tf.Tensor, **options: Any) -> tf.Tensor:
        nonlocal batch, tokens
        batch, tokens = len(x), None
        tokens = forward_features(x, **options)
        return tokens

    def observe(name: str, output: tf.Tensor) -> None:
        seen[name] = kept(output, max(images, BATCH) if name == LOGITS else images)

    def is_served(name: str) -> bool:
        return name == LOGITS or is_attention(name)

    with watch(model, observe, is_served):
        object.__setattr__(model, "forward_features", forward_and_keep)
        try:
            yield expected
        finally:
            vars(model).pop("forward_features")
    if tokens is None:
        return
    features = model.forward_head(tokens, pre_logits=True)
    expected[SERVING_DEFAULT] = {"logits": seen.pop(LOGITS)}
    expected["features"] = {"features": kept(features), "tokens": kept(tokens)}
    expected["attention"] = seen


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
        images: What those that take float images are given: as many of them as there
            are expected outputs.
        expected: What they must give, from `collected`.
        dtype: What the model computes in.
        samples: Files, and what the others must give for them.

    Returns:
        What the signatures gave; and what the model was given of each file.
    """
    rows = dict.fromkeys(expected, len(expected["features"]["tokens"]))
    rows[SERVING_DEFAULT] = len(expected[SERVING_DEFAULT]["logits"])
    calls = {name: {"images": tf.constant(images[:n])} for name, n in rows.items()}
    if samples is not None:
        calls |= samples.calls()

    def served(call: str) -> dict[str, np.ndarray]:
        signature = SERVING_DEFAULT if call == PIXELS else call
        outputs = loaded.signatures[signature](**calls[call])
        return {name: value.numpy() for name, value in outputs.items()}

    with ThreadPoolExecutor() as pool:  # the first run of each optimises its graph
        given = pool.submit(_preprocessed, loaded, samples)
        found = dict(zip(calls, pool.map(served, calls), strict=True))
    if samples is not None:
        outputs = found.pop(PIXELS)["logits"]
        expected = {**expected, **samples.expected(found, outputs)}
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


def _flat(outputs: Outputs) -> dict[str, np.ndarray]:
    return {
        f"{signature}.{name}": value
        for signature, values in outputs.items()
        for name, value in values.items()
    }
