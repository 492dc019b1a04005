"""A model as a SavedModel that TensorFlow alone can serve, and train."""

from collections.abc import Callable
from pathlib import Path

import keras
import tensorflow as tf

from vit_tf.export.shared_blocks import shared_blocks
from vit_tf.mapping import entries

ATTENTION = "attn.attn_drop"  # where a block's attention probabilities pass


def save(model: keras.Model, directory: Path) -> None:
    """Writes a SavedModel.

    The loaded object is callable, `loaded(images, training=False)`, gives logits, and
    can be trained: it has `variables`, `trainable_variables` and
    `regularization_losses`. Its signatures take float images (B, height, width,
    in_chans):

    * serving_default: logits (B, num_classes);
    * features: features (B, embed_dim), what the head sees, and tokens
      (B, N, embed_dim), unpooled;
    * attention: per block, by timm's name, probabilities (B, heads, N, N).

    Its checkpoint holds each weight once, under `weights/` and timm's name.
    """
    root = tf.train.Checkpoint()
    root.weights = {entry.name: entry.weight.value for entry in entries(model)}
    root.variables = [v.value for v in model.variables]
    root.trainable_variables = [v.value for v in model.trainable_variables]
    root.regularization_losses = []
    images = tf.TensorSpec((None, *model.img_size, model.in_chans), name="images")

    inference = _traced(_logits(model, training=False), images)
    training_step = inference
    if _random(model):
        training_step = _traced(_logits(model, training=True), images)
    everything = _traced(_features_and_attention(model), images)

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
    tf.saved_model.save(root, str(directory), signatures=signatures)


def _traced(function: Callable, images: tf.TensorSpec) -> Callable:
    return tf.function(function, autograph=False).get_concrete_function(images)


def _logits(model: keras.Model, training: bool) -> Callable:
    def logits(images):
        if training and _random(model):  # blocks that drop differently are not equal
            return model(images, training=True)
        with shared_blocks(model.blocks):
            return model(images, training=training)

    return logits


def _features_and_attention(model: keras.Model) -> Callable:
    def features_and_attention(images):
        with shared_blocks(model.blocks, taps=[ATTENTION]) as attention:
            tokens = model.forward_features(images)
            features = model.forward_head(tokens, pre_logits=True)
        return {"features": features, "tokens": tokens}, dict(attention)

    return features_and_attention


def _random(model: keras.Model) -> bool:
    """Whether anything drops out while training: it then has a seed's state."""
    return len(model.variables) > len(model.weights)
