"""Images of any size as what a model takes, in the manner of `keras.applications`."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from vit_tf.find_data_config import resolve_data_config
from vit_tf.preprocessing import DataConfig, check_images, transform_batch


def preprocess_input(
    images: Any, model: DataConfig | keras.Model | str | Path
) -> tf.Tensor:
    """timm's evaluation transform of a batch: resized, cropped, normalised.

    Unlike Keras's functions of that name it also brings images to the model's size,
    as the original does: give it images as they are stored.

    Args:
        images: Encoded files, as (B,) string or a list of bytes; or pixels from 0 to
            255, (B, H, W, C), or of several sizes, ragged or a list of (H, W, C).
            Floats, which Keras reads images as, must be whole numbers.
        model: Whose images they are to be, as `vit_tf.resolve_data_config` takes it.

    Returns:
        (B, height, width, channels) float32.

    Raises:
        ValueError: if they are not such images, or it is not known how images are
            prepared for the model.
    """
    data = resolve_data_config(model)
    if isinstance(images, (list, tuple)):
        images = _stacked(images)
    elif not tf.is_tensor(images):
        images = tf.convert_to_tensor(_bytes(images))
    check_images(images)
    return transform_batch(images, data)


def _stacked(images: Sequence[Any]) -> tf.Tensor | tf.RaggedTensor:
    if all(isinstance(image, bytes) for image in images):
        return tf.constant(images, tf.string)
    return tf.ragged.stack([_bytes(image) for image in images])


def _bytes(images: Any) -> np.ndarray:
    """Numbers from 0 to 255 as uint8; what is no number stays."""
    images = np.asarray(images)
    if images.dtype == np.uint8 or images.dtype.kind not in "iuf":
        return images
    whole = images.astype(np.uint8)
    if not np.array_equal(whole, images):
        raise ValueError(
            f"images: {images.dtype} from {images.min():g} to {images.max():g} found, "
            "whole numbers from 0 to 255 expected"
        )
    return whole
