"""Code that runs as pasted, for each way of using a bundle."""

import fnmatch
from collections.abc import Iterator
from string import Template

from vit_tf.export.card.facts import Card

TENSORFLOW = """\
import tensorflow as tf
$imports
path = $path
model = tf.saved_model.load(path)
$given = model(tf.zeros((1, $height, $width, $channels)))
"""
STORED = """
image = tf.zeros((480, 640, $channels), tf.uint8)  # of any size
file = tf.io.encode_jpeg(image)  # or tf.io.read_file(PATH)
outputs = model.signatures["serving_bytes"](images=tf.stack([file]))
$shown
images = model.preprocess(tf.stack([file]))  # or pixels, of any sizes:
images = model.preprocess(tf.ragged.stack([image, image[:99]]))
outputs = model.predict(images)  # the same outputs
"""
HUB = """\
import tensorflow as tf
import tensorflow_hub as hub
import tf_keras
$imports
path = $path
layer = hub.KerasLayer(path, trainable=True)
model = tf_keras.Sequential([layer$head])
model.compile("sgd", tf_keras.losses.SparseCategoricalCrossentropy(from_logits=True))
images = tf.random.uniform((4, $height, $width, $channels))
model.fit(images, tf.zeros(4, tf.int32))
"""
KERAS = """\
import keras
import tensorflow as tf
$imports
path = $path
layer = keras.layers.TFSMLayer(path, call_endpoint="features")
outputs = layer(tf.zeros((1, $height, $width, $channels)))
outputs["features"], outputs["tokens"]
"""
VIT_TF = """\
import vit_tf
$imports
path = $path
model = vit_tf.load(path)  # a Keras model: read it, probe it, train it
"""
FILES = {  # what a file is called -> for whom it is, the language, code
    "*.keras": (
        "Keras",
        "python",
        """\
import keras
import vit_tf.models
$imports
path = $path
vit_tf.models.import_families()
model = keras.models.load_model(path + "/$file")
""",
    ),
    "*.weights.h5": (
        "Weights for Keras",
        "python",
        """\
import vit_tf
$imports
path = $path
model = vit_tf.load(path)
model.load_weights(path + "/$file")
""",
    ),
    "*/model.safetensors": (
        "timm",
        "python",
        """\
import os
import timm
$imports
path = $path
folder = os.path.dirname(path + "/$file")
model = timm.create_model("local-dir:" + folder, pretrained=True).eval()
""",
    ),
    "*.tflite": (
        "LiteRT",
        "python",
        """\
import numpy as np
from ai_edge_litert.interpreter import Interpreter
$imports
path = $path
run = Interpreter(path + "/$file").get_signature_runner("serving_default")
outputs = run(images=np.zeros((1, $height, $width, $channels), np.float32))
""",
    ),
    "*.onnx": (
        "ONNX",
        "python",
        """\
import numpy as np
import onnxruntime
$imports
path = $path
session = onnxruntime.InferenceSession(path + "/$file")
images = np.zeros((1, $height, $width, $channels), np.float32)
outputs = session.run(None, {"images": images})
""",
    ),
    "*/model.json": (
        "TensorFlow.js",
        "javascript",
        """\
import * as tf from "@tensorflow/tfjs";

const path = "$name"; // where the bundle is served
const model = await tf.loadGraphModel(path + "/$file");
const outputs = model.predict(tf.zeros([1, $height, $width, $channels]));
""",
    ),
}


def usage(card: Card, path: str = "", imports: str = "") -> str:
    """The section, in Markdown: every block of code runs by itself.

    Args:
        card: What is used.
        path: Python for where the bundle is; by default its folder's name.
        imports: What that needs.
    """
    channels, height, width = card.input_size
    classes = bool(card.num_classes)
    values = dict(
        path=path or f'"{card.name}"',
        imports=f"{imports}\n" if imports else "",
        name=card.name,
        channels=channels,
        height=height,
        width=width,
        given="logits" if classes else "features",
        head="" if classes else ", tf_keras.layers.Dense(10)",
        shown='outputs["labels"], outputs["scores"]'
        if classes
        else 'outputs["features"]',
    )
    blocks = []
    for heading, language, code, file in _blocks(card):
        filled = Template(code).substitute(values, file=file)
        blocks.append(f"{heading}:\n\n```{language}\n{filled}```")
    return "\n\n".join(blocks)


def _blocks(card: Card) -> Iterator[tuple[str, str, str, str]]:
    """(heading, language, code, file), in the order in which they are shown."""
    stored = STORED if card.pixels is not None else ""
    yield "With TensorFlow alone", "python", TENSORFLOW + stored, ""
    yield "Fine-tuned, with TensorFlow Hub and tf_keras", "python", HUB, ""
    yield "As a layer of a Keras 3 model", "python", KERAS, ""
    yield "As a Keras model, with vit_tf", "python", VIT_TF, ""
    for file in card.files:
        for pattern, (heading, language, code) in FILES.items():
            if fnmatch.fnmatch(file, pattern):
                yield f"{heading}, `{file}`", language, code, file
