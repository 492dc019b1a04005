"""TensorFlow.js: a graph model, for browsers and Node.

A folder: `model.json`, with the graph and where in the other files each weight is.
"""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf
from google.protobuf import json_format

from vit_tf.export.formats.own_process import check_installed, convert

MODEL = "model.json"
INSTALL = "pip install --no-deps tensorflowjs"  # its requirements do not resolve


def write(saved_model: Path, path: Path) -> None:
    """Writes a SavedModel's `serving_default`: float images to logits, any batch.

    Args:
        saved_model: As `vit_tf.export.saved_model.save` writes it, in any precision but
            bfloat16. TensorFlow.js computes in float32.
        path: The folder.

    Raises:
        ImportError: if tensorflowjs is not installed.
        ValueError: if its converter refuses the model.
    """
    check_installed("tensorflowjs", INSTALL)
    converter = Path(__file__).with_name("tfjs_converter.py")
    command = [str(converter), str(saved_model), str(path)]
    convert("tensorflowjs", command, saved_model, path)
    model = path / MODEL
    in_order = json.dumps(json.loads(model.read_text()), sort_keys=True)
    model.write_text(in_order)  # attributes come in any


def run(path: Path, images: np.ndarray) -> np.ndarray:
    """The logits, (B, num_classes), that TensorFlow computes of what is in a folder.

    The graph and the weights are read back from the files; that TensorFlow.js gives the
    same is seen by `tests/in_node.py`.

    Args:
        path: The folder.
        images: (B, height, width, in_chans) float32.
    """
    model = json.loads((path / MODEL).read_text())
    weights = _weights(path, model["weightsManifest"])
    graph = json_format.ParseDict(model["modelTopology"], tf.compat.v1.GraphDef())
    for node in graph.node:
        if node.op == "Const":
            dtype = node.attr["dtype"].type
            tensor = tf.make_tensor_proto(weights[node.name], dtype)
            node.attr["value"].tensor.CopyFrom(tensor)
    (given,) = model["signature"]["inputs"].values()
    (asked,) = model["signature"]["outputs"].values()
    imported = tf.compat.v1.wrap_function(
        lambda: tf.graph_util.import_graph_def(graph, name=""), []
    )
    return imported.prune(given["name"], asked["name"])(tf.constant(images)).numpy()


def _weights(path: Path, manifest: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Name -> array. The files of a group hold its weights in a row."""
    weights = {}
    for group in manifest:
        values = b"".join((path / shard).read_bytes() for shard in group["paths"])
        offset = 0
        for weight in group["weights"]:
            dtype, shape = np.dtype(weight["dtype"]), weight["shape"]
            count = int(np.prod(shape))
            array = np.frombuffer(values, dtype, count, offset)
            weights[weight["name"]] = array.reshape(shape)
            offset += array.nbytes
    return weights
