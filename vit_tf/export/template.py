"""A SavedModel of which others are made that differ from it in their weights only."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import keras
import tensorflow as tf
from tensorflow.core.protobuf import fingerprint_pb2, trackable_object_graph_pb2

from vit_tf.export import saved_model
from vit_tf.export.saved_model import VARIABLES, checkpoint_key, is_weight
from vit_tf.mapping import entries
from vit_tf.preprocessing import DataConfig

PROGRAM, FINGERPRINT = "saved_model.pb", "fingerprint.pb"
_GRAPH = "_CHECKPOINTABLE_OBJECT_GRAPH"  # TensorFlow's key for the names of all others


class Template:
    """A SavedModel that was written and read once.

    To trace a model, to serialise its graph and to optimise it at its first run is
    most of what a small conversion costs, and none of it depends on the weights: they
    are in files of their own. So a model of the same configuration gets a copy of the
    program, and weights that TensorFlow's own operation writes: byte for byte what
    `saved_model.save` would write.

    Args:
        model: Whose weights are written, whatever they are at the time.
        data: How images are transformed for it, if known.
        label_names: Its classes' names, if known.
    """

    def __init__(
        self,
        model: keras.Model,
        data: DataConfig | None,
        label_names: Sequence[str] | None,
    ):
        self._model = model
        self._data, self._label_names = data, label_names
        self._program = self._fingerprint = b""
        self._tensors: dict[str, Any] = {}  # key -> tensor, in the order of the file
        self._loaded: Any = None

    def save(self, directory: Path) -> None:
        """Writes a SavedModel of the model as it is now, as `saved_model.save` does."""
        if not self._program:
            saved_model.save(self._model, directory, self._data, self._label_names)
            self._fingerprint = (directory / FINGERPRINT).read_bytes()
            self._tensors = _tensors(directory)
            self._program = (directory / PROGRAM).read_bytes()  # last: it is complete
            return
        (directory / VARIABLES).parent.mkdir(parents=True)
        (directory / PROGRAM).write_bytes(self._program)
        weights = {
            checkpoint_key(entry.name): entry.weight.value
            for entry in entries(self._model)
        }
        tensors = {**self._tensors, **weights}
        tf.raw_ops.SaveV2(
            prefix=str(directory / VARIABLES),
            tensor_names=[*tensors],
            shape_and_slices=[""] * len(tensors),
            tensors=[tf.convert_to_tensor(tensor) for tensor in tensors.values()],
        )
        (directory / FINGERPRINT).write_bytes(self._fingerprint_of(directory))

    def load(self, directory: Path) -> Any:
        """What `tf.saved_model.load` gives, with graphs that have run before.

        What was given before is the same object, and has these weights from now on.

        Raises:
            ValueError: if the folder holds another program, or other variables.
        """
        if self._loaded is None:
            self._loaded = tf.saved_model.load(str(directory))
            return self._loaded
        if (directory / PROGRAM).read_bytes() != self._program:
            raise ValueError(f"{directory / PROGRAM} is not the program of this model")
        checkpoint = tf.train.load_checkpoint(str(directory / VARIABLES))
        if checkpoint.get_variable_to_shape_map().keys() != self._tensors.keys():
            raise ValueError(f"{directory / VARIABLES} holds other variables")
        for name, variable in self._loaded.weights.items():
            variable.assign(checkpoint.get_tensor(checkpoint_key(name)))
        return self._loaded

    def _fingerprint_of(self, directory: Path) -> bytes:
        """The program's, with what tells the variables from others."""
        found = fingerprint_pb2.FingerprintDef.FromString(self._fingerprint)
        index = (directory / VARIABLES).with_suffix(".index").read_bytes()
        hashed = tf.fingerprint([index], method="farmhash64")[0].numpy()
        found.checkpoint_hash = int.from_bytes(hashed.tobytes(), "little")
        return found.SerializeToString(deterministic=True)


def _tensors(directory: Path) -> dict[str, Any]:
    """key -> tensor of a SavedModel's variables, in the order of the file.

    Only of what is beside the weights: these are None.
    """
    checkpoint = tf.train.load_checkpoint(str(directory / VARIABLES))
    graph = trackable_object_graph_pb2.TrackableObjectGraph.FromString(
        checkpoint.get_tensor(_GRAPH)
    )
    keys = [a.checkpoint_key for node in graph.nodes for a in node.attributes]
    return {
        key: None if is_weight(key) else checkpoint.get_tensor(key)
        for key in [*keys, _GRAPH]
    }
