"""The gradient of a classification loss, by timm's parameter names."""

import numpy as np
import tensorflow as tf

from vit_tf.mapping import entries


def gradients(model, images: np.ndarray, labels: np.ndarray) -> dict[str, np.ndarray]:
    """The gradient of the mean cross-entropy loss, for each parameter of `model`.

    Args:
        model: A built `keras.Model` that gives logits.
        images: (B, height, width, in_chans) preprocessed images.
        labels: (B,) integers below the number of outputs.

    Returns:
        timm name -> gradient, in timm's layout.
    """
    weights = [entry for entry in entries(model) if entry.weight.trainable]
    variables = [entry.weight.value for entry in weights]
    with tf.GradientTape() as tape:
        logits = model(tf.convert_to_tensor(images, model.input_dtype), training=False)
        logits = tf.reshape(logits, (-1, logits.shape[-1]))
        labels = np.repeat(labels, logits.shape[0] // len(labels))
        losses = tf.nn.sparse_softmax_cross_entropy_with_logits(labels, logits)
        loss = tf.reduce_mean(losses)
    found = tape.gradient(loss, variables, unconnected_gradients="zero")
    return {
        entry.name: entry.layout.to_timm(gradient.numpy())
        for entry, gradient in zip(weights, found, strict=True)
    }
