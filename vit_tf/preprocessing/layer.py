"""timm's evaluation transform as a Keras layer."""

from collections.abc import Mapping
from typing import Any

import keras
import tensorflow as tf

from vit_tf.preprocessing.data_config import DataConfig
from vit_tf.preprocessing.transform import transform_batch


@keras.saving.register_keras_serializable(package="vit_tf")
class Preprocessing(keras.layers.Layer):
    """Images as they are stored, to what a model takes.

    It takes (B,) string, encoded files, or (B, H, W, C) uint8 of any size, which may
    be ragged; it gives (B, height, width, channels) float32, whatever the policy. It
    has no weights and no gradient, and runs on the CPU.

    Args:
        data: How images are transformed: a `DataConfig`, or its `to_json()`.

    Raises:
        ValueError: if `data` is none; when called, if images are of another dtype.
    """

    supports_jit = False  # XLA has no decoder

    def __init__(self, data: DataConfig | Mapping[str, Any], **kwargs):
        kwargs = {"dtype": "float32", "trainable": False, **kwargs}
        super().__init__(autocast=False, **kwargs)
        self.data = data if isinstance(data, DataConfig) else DataConfig(**data)

    def call(self, images: tf.Tensor | tf.RaggedTensor) -> tf.Tensor:
        check_images(images)
        with tf.device("CPU:0"):
            return transform_batch(images, self.data)

    def compute_output_spec(self, images: Any) -> keras.KerasTensor:
        check_images(images)
        channels, height, width = self.data.input_size
        shape = (images.shape[0], height, width, channels)
        return keras.KerasTensor(shape, "float32")

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "data": self.data.to_json()}


def check_images(images: Any) -> None:
    """
    Raises:
        ValueError: if they are neither files nor pixels.
    """
    dtype, rank = tf.as_dtype(images.dtype), len(images.shape)
    if (dtype, rank) not in ((tf.string, 1), (tf.uint8, 4)):
        raise ValueError(
            f"images: {dtype.name} of shape {tuple(images.shape)} found, string of "
            "shape (batch,) (encoded files) or uint8 of shape (batch, height, width, "
            "channels) (pixels) expected"
        )
