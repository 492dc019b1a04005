"""What a SavedModel gives for image files, and for pixels of any size."""

import functools
from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

import tensorflow as tf

from vit_tf.preprocessing import DataConfig, flatten, transform_batch, transform_flat

TOP = 5  # classes that are named


class Readers(NamedTuple):
    """Graphs that make what a model takes of images as they are stored.

    Attributes:
        files: Of files, (B,) string.
        flat: Of the values of images of several sizes in a row, (N,) uint8, and of
            their heights and widths, (B, 2) int32.
    """

    files: Callable
    flat: Callable


class Serving(NamedTuple):
    """
    Attributes:
        preprocess: Images as they are stored to what the model takes.
        predict: What the model takes to its outputs, by name.
        signatures: What a client may call, by name.
    """

    preprocess: Callable
    predict: Callable
    signatures: Mapping[str, Callable]


@functools.lru_cache(maxsize=4)
def readers(data: DataConfig) -> Readers:
    """The graphs of a transform, traced once for all models of a process.

    What is traced later has a higher number, and functions are written in the order of
    their numbers: where bytes are to be the same each time, these come first.
    """
    specs = _specs(data)

    @_traced(specs["files"])
    def read_files(images):
        with tf.device("CPU:0"):  # where a GPU has the operations, it rounds otherwise
            return transform_batch(images, data)

    @_traced(specs["values"], specs["sizes"])
    def read_pixels(pixels, sizes):
        with tf.device("CPU:0"):
            return transform_flat(pixels, sizes, data)

    return Readers(read_files, read_pixels)


def serving(
    inference: Callable[[tf.Tensor], tf.Tensor],
    num_classes: int,
    data: DataConfig,
    label_names: Sequence[str] | None,
) -> Serving:
    """The functions of a model that takes images as they are stored.

    Reading files, reading pixels and naming classes are traced once each, and the
    signatures call them. A signature takes no ragged tensor: images of several sizes
    come to it as one row of values, with the size of each. `preprocess` takes them as
    they are.

    Args:
        inference: The traced model.
        num_classes: Its classes, or 0 where it gives features.
        data: How images are transformed.
        label_names: The classes' names; where None, their numbers stand for them.
    """
    specs, read = _specs(data), readers(data)

    @tf.function(autograph=False)
    def preprocess(images):
        if not isinstance(images, tf.RaggedTensor) and images.dtype == tf.string:
            return read.files(images)
        return read.flat(*flatten(images))

    ragged = tf.RaggedTensorSpec(specs["pixels"].shape, tf.uint8, ragged_rank=2)
    for images in (specs["files"], specs["pixels"], ragged):
        preprocess.get_concrete_function(images)

    @tf.function(input_signature=[specs["floats"]], autograph=False)
    def predict(images):
        return _named(inference(images), num_classes, label_names)

    named = predict.get_concrete_function()

    def serving_bytes(images):
        return named(read.files(images))

    def serving_uint8(images):
        return named(read.flat(*flatten(images)))

    def serving_uint8_ragged(pixels, sizes):
        return named(read.flat(pixels, sizes))

    inputs = {serving_bytes: ["files"], serving_uint8: ["pixels"]}
    inputs[serving_uint8_ragged] = ["values", "sizes"]
    signatures = {
        signature.__name__: tf.function(
            signature, input_signature=[specs[name] for name in names], autograph=False
        )
        for signature, names in inputs.items()
    }
    return Serving(preprocess, predict, signatures)


def _specs(data: DataConfig) -> dict[str, tf.TensorSpec]:
    """The inputs that there are, each named as clients name it."""
    channels = data.input_size[0]
    return {
        "files": tf.TensorSpec((None,), tf.string, name="images"),
        "pixels": tf.TensorSpec((None, None, None, channels), tf.uint8, name="images"),
        "floats": tf.TensorSpec((None, *data.size, channels), name="images"),
        "values": tf.TensorSpec((None,), tf.uint8, name="pixels"),
        "sizes": tf.TensorSpec((None, 2), tf.int32, name="sizes"),
    }


def _traced(*inputs: tf.TypeSpec) -> Callable:
    """A decorator: the graph of a function, so that nobody traces it again."""
    return lambda function: tf.function(
        function, autograph=False
    ).get_concrete_function(*inputs)


def _named(
    outputs: tf.Tensor, num_classes: int, label_names: Sequence[str] | None
) -> dict[str, tf.Tensor]:
    if not num_classes:
        return {"features": outputs}
    probabilities = tf.nn.softmax(outputs)
    scores, classes = tf.math.top_k(probabilities, min(TOP, num_classes))
    labels = tf.strings.as_string(classes)
    if label_names is not None:
        labels = tf.gather(tf.constant(label_names), classes)
    return {
        "logits": outputs,
        "probabilities": probabilities,
        "classes": classes,
        "labels": labels,
        "scores": scores,
    }
