"""A model as a SavedModel that TensorFlow alone can serve, and train."""

import contextlib
from collections.abc import Iterable
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

    call = tf.function(_call(model), autograph=False)
    inference = call.get_concrete_function(images)
    call.get_concrete_function(images, training=False)
    call.get_concrete_function(images, training=True)
    root.__call__ = call
    everything = tf.function(_everything(model), autograph=False)
    features_and_attention = everything.get_concrete_function(images)

    # Each signature calls one of the two: what it does not return is pruned.
    def serving_default(images):
        return {"logits": inference(images)}

    def features(images):
        return features_and_attention(images)[0]

    def attention(images):
        return features_and_attention(images)[1]

    signatures = {
        signature.__name__: tf.function(
            signature, input_signature=[images], autograph=False
        )
        for signature in (serving_default, features, attention)
    }
    tf.saved_model.save(root, str(directory), signatures=signatures)


def _call(model: keras.Model):
    def call(images, training=False):
        with _shared(model, training):
            return model(images, training=training)

    return call


def _everything(model: keras.Model):
    def everything(images):
        with _shared(model, False, taps=[ATTENTION]) as attention:
            tokens = model.forward_features(images)
            features = model.forward_head(tokens, pre_logits=True)
        return {"features": features, "tokens": tokens}, dict(attention)

    return everything


def _shared(model: keras.Model, training: bool, taps: Iterable[str] = ()):
    """The model's blocks as one function, unless something random tells them apart."""
    random = len(model.variables) > len(model.weights)
    if training and random:
        return contextlib.nullcontext()
    return shared_blocks(model.blocks, taps)
