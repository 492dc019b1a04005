"""What one conversion leaves on the bench for the next."""

import gc
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import keras
import tensorflow as tf
from ml_collections import ConfigDict

from vit_tf import checkpoints, mapping, proof
from vit_tf.export import saved_model
from vit_tf.export.template import Template
from vit_tf.preprocessing import DataConfig


class Workbench:
    """Makes models and SavedModels of them; an empty one makes each anew.

    One that keeps things has the last model, and its graphs, ready for the next
    checkpoint of the same configuration: it is built, traced and optimised once.

    Args:
        most_parameters: How many a model may have that is kept. It stays in memory,
            and what was read back of it, too: twice 4 bytes each.
    """

    def __init__(self, most_parameters: float = 0):
        self._most_parameters = most_parameters
        self._key: Any = None
        self._model: keras.Model | None = None
        self._template_key: Any = None
        self._template: Template | None = None
        self._frozen = False

    def model(
        self, config: ConfigDict, tensors: checkpoints.Tensors, dtype: str
    ) -> keras.Model:
        """The model that `config` describes, with `tensors` as its weights.

        Raises:
            MappingError: if they are not, all and only, its weights.
        """
        key = (config.family, config.model_class, config.architecture, dtype)
        key = (*key, repr(sorted(config.model.items())))
        if self._model is not None and key == self._key:
            mapping.assign(self._model, tensors)
            return self._model
        if self._key is not None:
            self._clear()
        self._key = key
        model = proof.filled(config, tensors, dtype)
        if model.count_params() <= self._most_parameters:
            self._model = model
        return model

    def save(
        self,
        model: keras.Model,
        directory: Path,
        data: DataConfig | None,
        label_names: Sequence[str] | None,
    ) -> None:
        """Writes a SavedModel, as `vit_tf.export.saved_model.save` does."""
        if model is not self._model:
            saved_model.save(model, directory, data, label_names)
            return
        key = (data, label_names and tuple(label_names))
        if self._template is None or key != self._template_key:
            self._template = Template(model, data, label_names)
            self._template_key = key
        self._template.save(directory)

    def collect(self) -> None:
        """Gives back the memory of a model that is no longer in use, and not kept."""
        if self._template is None:
            gc.collect()

    def load(self, directory: Path) -> Any:
        """What `tf.saved_model.load` gives of the folder that was saved last."""
        if self._template is None:
            return tf.saved_model.load(str(directory))
        loaded = self._template.load(directory)
        if not self._frozen:  # the collector need not go through all of this again
            gc.collect()
            gc.freeze()
            self._frozen = True
        return loaded

    def _clear(self) -> None:
        """Forgets the last model, and what Keras and TensorFlow keep of it."""
        if not self._most_parameters:
            return
        self._key = self._model = self._template_key = self._template = None
        self._frozen = False
        gc.unfreeze()
        keras.backend.clear_session()
        gc.collect()
        gc.freeze()
