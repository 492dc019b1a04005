"""Micro models of several kinds in one SavedModel: slow converters run once for all.

python -m pytest tests/test_format_onnx.py tests/test_format_tfjs.py --every_kind
"""

from collections.abc import Sequence
from pathlib import Path

import keras
import numpy as np
import tensorflow as tf
from micro import random_tensors, smallest_config

from vit_tf import proof
from vit_tf.export import saved_model

KINDS = (
    "deit_tiny_distilled_patch16_224",
    "cait_xxs24_224",
    "swin_tiny_patch4_window7_224",
    "swinv2_tiny_window8_256",
    "vit_tiny_r_s16_p8_224",
    "vit_small_resnet26d_224",
)
SOME = ("cait_xxs24_224", "swinv2_tiny_window8_256", "vit_tiny_r_s16_p8_224")
SIZE = 64  # pixels


def micro_model(name: str, dtype: str = "float32") -> keras.Model:
    config = smallest_config(name, img_size=SIZE)
    return proof.filled(config, random_tensors(config), dtype)


def save(folder: Path, kinds: Sequence[str]) -> dict[str, keras.Model]:
    """Writes a SavedModel whose logits are those of all these kinds, in a row.

    Returns:
        The models, each of which gives as many.
    """
    parts = tf.Module()
    parts.loaded, found = [], {}
    for name in kinds:
        found[name] = micro_model(name)
        own = folder.with_name(f"{folder.name}-{name}")
        saved_model.save(found[name], own)
        parts.loaded.append(tf.saved_model.load(str(own)))
    serve = [part.signatures["serving_default"] for part in parts.loaded]

    @tf.function(input_signature=[tf.TensorSpec((None, SIZE, SIZE, 3), name="images")])
    def serving_default(images):
        return {"logits": tf.concat([f(images=images)["logits"] for f in serve], 1)}

    tf.saved_model.save(parts, str(folder), {"serving_default": serving_default})
    return found


def errors(logits: np.ndarray, images: np.ndarray, found: dict) -> dict[str, float]:
    """How far each kind's logits are from its model's, relative to the largest."""
    expected = {name: model(images).numpy() for name, model in found.items()}
    parts = np.split(logits, len(found), axis=1)
    return {
        name: float(np.abs(part - own).max() / np.abs(own).max())
        for part, (name, own) in zip(parts, expected.items(), strict=True)
    }


def images(batch: int) -> np.ndarray:
    rng = np.random.default_rng(batch)
    return rng.standard_normal((batch, SIZE, SIZE, 3), np.float32)
