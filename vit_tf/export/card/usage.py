"""Code that runs as pasted, for each way of using a bundle."""

import fnmatch
from collections.abc import Iterator

from vit_tf.export.card.facts import Card

TENSORFLOW = """\
import tensorflow as tf
{imports}
path = {path}
model = tf.saved_model.load(path)
outputs = model(tf.zeros((1, {height}, {width}, {channels})))  # {outputs}
"""
STORED = """
image = tf.zeros((480, 640, {channels}), tf.uint8)  # of any size
file = tf.io.encode_jpeg(image)  # or tf.io.read_file(PATH)
outputs = model.signatures["serving_bytes"](images=tf.stack([file]))
{shown}
images = model.preprocess(tf.stack([file]))  # or pixels, of any sizes:
images = model.preprocess(tf.ragged.stack([image, image[:99]]))
outputs = model.predict(images)  # the same outputs
"""
HUB = """\
import tensorflow as tf
import tensorflow_hub as hub
import tf_keras
{imports}
path = {path}
layer = hub.KerasLayer(path, trainable=True)
model = tf_keras.Sequential([layer{head}])
model.compile("sgd", tf_keras.losses.SparseCategoricalCrossentropy(from_logits=True))
images = tf.random.uniform((4, {height}, {width}, {channels}))
model.fit(images, tf.zeros(4, tf.int32))
"""
KERAS = """\
import keras
import tensorflow as tf
{imports}
path = {path}
layer = keras.layers.TFSMLayer(path, call_endpoint="features")
outputs = layer(tf.zeros((1, {height}, {width}, {channels})))
outputs["features"], outputs["tokens"]
"""
VIT_TF = """\
import vit_tf
{imports}
path = {path}
model = vit_tf.load(path)  # a Keras model: read it, probe it, train it
model.summary()
"""
FORMATS = {
    "model.keras": (
        "Keras",
        """\
import keras
import vit_tf.models
{imports}
path = {path}
vit_tf.models.import_families()
model = keras.models.load_model(path + "/{file}")
""",
    ),
    "*.weights.h5": (
        "Weights for Keras",
        """\
import vit_tf
{imports}
path = {path}
model = vit_tf.load(path)
model.load_weights(path + "/{file}")
""",
    ),
    "*.safetensors": (
        "timm",
        """\
import os
import timm
{imports}
path = {path}
folder = os.path.dirname(path + "/{file}")
model = timm.create_model("local-dir:" + folder, pretrained=True).eval()
""",
    ),
    "*.tflite": (
        "LiteRT",
        """\
import numpy as np
from ai_edge_litert.interpreter import Interpreter
{imports}
path = {path}
run = Interpreter(path + "/{file}").get_signature_runner()
outputs = run(images=np.zeros((1, {height}, {width}, {channels}), np.float32))
""",
    ),
    "*.onnx": (
        "ONNX",
        """\
import numpy as np
import onnxruntime
{imports}
path = {path}
session = onnxruntime.InferenceSession(path + "/{file}")
images = np.zeros((1, {height}, {width}, {channels}), np.float32)
outputs = session.run(None, {{session.get_inputs()[0].name: images}})
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
    blocks = dict(_doors(card)) | dict(_formats(card))
    channels, height, width = card.input_size
    values = dict(
        path=path or f'"{card.name}"',
        imports=f"{imports}\n" if imports else "",
        channels=channels,
        height=height,
        width=width,
    )
    return "\n\n".join(
        f"{heading}:\n\n```python\n{code.format(**values)}```"
        for heading, code in blocks.items()
    )


def _doors(card: Card) -> Iterator[tuple[str, str]]:
    outputs = "logits" if card.num_classes else "features"
    code = TENSORFLOW.replace("{outputs}", outputs)
    if card.pixels is not None:
        labels = 'outputs["labels"], outputs["scores"]'
        shown = labels if card.num_classes else 'outputs["features"]'
        code += STORED.replace("{shown}", shown)
    yield "With TensorFlow alone", code
    head = "" if card.num_classes else ", tf_keras.layers.Dense(10)"
    yield (
        "Fine-tuned, with TensorFlow Hub and tf_keras",
        HUB.replace("{head}", head),
    )
    yield "As a layer of a Keras 3 model", KERAS
    yield "As a Keras model, with vit_tf", VIT_TF


def _formats(card: Card) -> Iterator[tuple[str, str]]:
    for file in card.files:
        for pattern, (heading, code) in FORMATS.items():
            if fnmatch.fnmatch(file, pattern):
                yield f"{heading}, `{file}`", code.replace("{file}", file)
