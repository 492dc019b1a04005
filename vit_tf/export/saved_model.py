"""A model as a SavedModel that TensorFlow alone can serve, and train."""

import contextlib
import functools
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import keras
import tensorflow as tf

from vit_tf.activations import watch
from vit_tf.export.reproducible import make_reproducible
from vit_tf.export.serving import readers, serving
from vit_tf.export.shared_blocks import shared_blocks
from vit_tf.mapping import entries, named_layers
from vit_tf.preprocessing import DataConfig

SERVING_DEFAULT = "serving_default"  # the signature that TensorFlow Serving looks for
VARIABLES = Path("variables/variables")  # the prefix of the files that hold them


def save(
    model: keras.Model,
    directory: Path,
    data: DataConfig | None = None,
    label_names: Sequence[str] | None = None,
) -> None:
    """Writes a SavedModel.

    The loaded object is callable, `loaded(images, training=False)`, gives logits, and
    can be trained: it has `variables`, `trainable_variables` and
    `regularization_losses`. Its signatures take float images (B, height, width,
    in_chans):

    * serving_default: logits (B, num_classes);
    * features: features (B, C), what the head sees, and tokens, (B, N, C) or as an
      image of them (B, H, W, C), unpooled;
    * attention: per block, by timm's name, probabilities (B, heads, N, N), or
      (B * windows, heads, N, N) where attention is to windows.

    Height and width are those of the model, or any where it has `dynamic_img_size`.
    Images are float32 whatever the model computes in, and so is what comes out; of a
    model in float64, float64.

    Where `data` says how images become these, three more take them as they are
    stored:

    * serving_bytes: `images` (B,) string, JPEG, PNG, BMP or WebP files;
    * serving_uint8: `images` (B, H, W, in_chans) uint8, of any one size;
    * serving_uint8_ragged: images of several sizes: all their values in a row,
      `pixels` (N,) uint8, and `sizes` (B, 2) int32, height and width of each.

    They give logits and probabilities (B, num_classes), and of the k = 5 likeliest
    classes (all, of fewer) `classes` (B, k) int32, `labels` (B, k) string and `scores`
    (B, k), their probabilities; without classes, features (B, C).

    `loaded.preprocess(images)` gives what the model takes, of files and of pixels,
    which may be a ragged tensor; `loaded.predict` gives of that what these give.

    Its checkpoint holds each weight once, under `weights/` and timm's name. Saved
    again, it is the same, byte for byte.

    Args:
        model: What is written.
        directory: Where.
        data: How images are transformed for it, if known.
        label_names: Its classes' names, if known; else numbers stand for them.
    """
    if data is not None:
        readers(data)  # traced before the model, whether for this one or an earlier
    root = tf.train.Checkpoint()
    root.weights = {entry.name: entry.weight.value for entry in entries(model)}
    root.variables = [v.value for v in model.variables]
    root.trainable_variables = [v.value for v in model.trainable_variables]
    root.regularization_losses = []
    size = (None, None) if model.dynamic_img_size else model.img_size
    images = tf.TensorSpec((None, *size, model.in_chans), name="images")

    def traced(function: Callable) -> Callable:
        in_its_dtype = tf.function(
            functools.partial(run, model, function), autograph=False
        )
        return in_its_dtype.get_concrete_function(images)

    inference = traced(_logits(model, training=False))
    training_step = inference
    if _trains_differently(model):
        training_step = traced(_logits(model, training=True))
    everything = traced(_features_and_attention(model))

    # What follows calls these three: each is traced once, whoever returns a part of
    # it, and what nobody returns is pruned before it runs.
    @tf.function(autograph=False)
    def call(images, training=False):
        return training_step(images) if training else inference(images)

    for training in (False, True):
        call.get_concrete_function(images, training=training)
    root.__call__ = call

    def serving_default(images):
        return {"logits": inference(images)}

    def features(images):
        return everything(images)[0]

    def attention(images):
        return everything(images)[1]

    signatures = {
        signature.__name__: tf.function(
            signature, input_signature=[images], autograph=False
        )
        for signature in (serving_default, features, attention)
    }
    if data is not None:
        served = serving(inference, model.num_classes, data, label_names)
        root.preprocess, root.predict = served.preprocess, served.predict
        signatures |= served.signatures
    tf.saved_model.save(root, str(directory), signatures=signatures)
    make_reproducible(directory)


def run(model: keras.Model, function: Callable, images: tf.Tensor) -> Any:
    """What `function` of a model gives for images in float32.

    Images are cast to what the model takes, and half precision back to float32.
    """
    outputs = function(tf.cast(images, model.variable_dtype))
    return tf.nest.map_structure(in_float32, outputs)


def in_float32(output: tf.Tensor) -> tf.Tensor:
    """An output as it is served: half precision in float32, float64 as it is."""
    return tf.cast(output, tf.float32) if output.dtype.size < 4 else output


def checkpoint_key(name: str) -> str:
    """The key of a weight, by timm's name, in the variables' files."""
    return f"weights/{name.replace('.', '..')}/.ATTRIBUTES/VARIABLE_VALUE"


def is_weight(key: str) -> bool:
    """Whether a key in the variables' files is a weight's."""
    return key.startswith("weights/")


def is_attention(name: str) -> bool:
    """Whether a layer, by timm's name, hands on attention probabilities."""
    return name.split(".")[-1] == "attn_drop"


def _logits(model: keras.Model, training: bool) -> Callable:
    def logits(images):
        if training and _trains_differently(model):  # then blocks are not equal
            return model(images, training=True)
        with _shared(model):
            return model(images, training=training)

    return logits


def _features_and_attention(model: keras.Model) -> Callable:
    def features_and_attention(images):
        with _shared(model, tapped=is_attention) as attention:
            tokens = model.forward_features(images)
            features = model.forward_head(tokens, pre_logits=True)
        return {"features": features, "tokens": tokens}, attention()

    return features_and_attention


@contextlib.contextmanager
def _shared(
    model: keras.Model, tapped: Callable[[str], bool] = lambda name: False
) -> Iterator[Callable[[], dict[str, tf.Tensor]]]:
    """Within it, every group of repeated blocks is traced once.

    Yields:
        What gives the outputs of the tapped layers, once the model has run: in the
        model's order.
    """
    names = {id(layer): name for layer, name in named_layers(model)}
    groups = [
        {names[id(block)]: block for block in group} for group in model.repeated_blocks
    ]
    blocks = tuple(f"{name}." for group in groups for name in group)
    outside: dict[str, tf.Tensor] = {}

    def observe(name: str, output: tf.Tensor) -> None:
        if tapped(name):
            outside[name] = output

    with contextlib.ExitStack() as stack:
        # What is inside a repeated block is tapped there, in the block's own graph.
        stack.enter_context(watch(model, observe, lambda n: not n.startswith(blocks)))
        inside = [stack.enter_context(shared_blocks(g, tapped)) for g in groups]

        def outputs() -> dict[str, tf.Tensor]:
            found = dict(outside)
            for outputs_of_group in inside:
                found |= outputs_of_group
            return {name: found[name] for name in names.values() if name in found}

        yield outputs


def _trains_differently(model: keras.Model) -> bool:
    """Whether anything drops out while training, or follows the batches' statistics."""
    has_seeds = len(model.variables) > len(model.weights)
    return has_seeds or bool(model.non_trainable_weights)
