"""A model that takes images as they are stored."""

from collections.abc import Mapping
from typing import Any

import keras
import tensorflow as tf

from vit_tf.preprocessing import DataConfig, Preprocessing


@keras.saving.register_keras_serializable(package="vit_tf")
class Preprocessed(keras.Model):
    """What `include_preprocessing=True` gives: `Preprocessing`, then the model.

    Call it on encoded files, (B,) string, or on pixels of any size, (B, H, W, C)
    uint8, which may be ragged.

    Args:
        model: A built model; it stays reachable as `.model`.
        data: How images are transformed for it; stays reachable as `.data_config`.
    """

    def __init__(
        self, model: keras.Model, data: DataConfig | Mapping[str, Any], **kwargs
    ):
        super().__init__(autocast=False, **kwargs)  # the model does it itself
        self.preprocessing = Preprocessing(data, name="preprocessing")
        self.model = model
        self.built = True  # as the model is

    @property
    def data_config(self) -> DataConfig:
        return self.preprocessing.data

    def call(
        self, images: tf.Tensor | tf.RaggedTensor, training: bool = False
    ) -> tf.Tensor | list[tf.Tensor]:
        return self.model(self.preprocessing(images), training=training)

    def get_config(self) -> dict[str, Any]:
        model = keras.saving.serialize_keras_object(self.model)
        data = self.data_config.to_json()
        return {**super().get_config(), "model": model, "data": data}

    @classmethod
    def from_config(cls, config: dict, custom_objects: dict | None = None):
        model = keras.saving.deserialize_keras_object(
            config["model"], custom_objects=custom_objects
        )
        return cls(**{**config, "model": model})

    def build(self, input_shape):
        self.built = True
