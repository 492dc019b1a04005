"""What a SavedModel gives for image files, and for pixels of any size."""

from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

import tensorflow as tf

from vit_tf.preprocessing import DataConfig, flatten, transform_batch, transform_flat

TOP = 5  # classes that are named


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
    channels = data.input_size[0]
    files = tf.TensorSpec((None,), tf.string, name="images")
    pixels = tf.TensorSpec((None, None, None, channels), tf.uint8, name="images")
    ragged = tf.RaggedTensorSpec(pixels.shape, tf.uint8, ragged_rank=2)
    floats = tf.TensorSpec((None, *data.size, channels), name="images")
    values = tf.TensorSpec((None,), tf.uint8, name="pixels")
    sizes = tf.TensorSpec((None, 2), tf.int32, name="sizes")

    @_traced(files)
    def read_files(images):
        with tf.device("CPU:0"):  # where a GPU has the operations, it rounds otherwise
            return transform_batch(images, data)

    @_traced(values, sizes)
    def read_pixels(pixels, sizes):
        with tf.device("CPU:0"):
            return transform_flat(pixels, sizes, data)

    @tf.function(autograph=False)
    def preprocess(images):
        if not isinstance(images, tf.RaggedTensor) and images.dtype == tf.string:
            return read_files(images)
        return read_pixels(*flatten(images))

    for images in (files, pixels, ragged):
        preprocess.get_concrete_function(images)

    @tf.function(input_signature=[floats], autograph=False)
    def predict(images):
        return _named(inference(images), num_classes, label_names)

    named = predict.get_concrete_function()

    def serving_bytes(images):
        return named(read_files(images))

    def serving_uint8(images):
        return named(read_pixels(*flatten(images)))

    def serving_uint8_ragged(pixels, sizes):
        return named(read_pixels(pixels, sizes))

    inputs = {serving_bytes: [files], serving_uint8: [pixels]}
    inputs[serving_uint8_ragged] = [values, sizes]
    signatures = {
        signature.__name__: tf.function(signature, input_signature=i, autograph=False)
        for signature, i in inputs.items()
    }
    return Serving(preprocess, predict, signatures)


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
