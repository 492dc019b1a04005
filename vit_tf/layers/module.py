"""A layer made of layers."""

import keras
import tensorflow as tf

from vit_tf.layers.sizes import sizes


class Module(keras.layers.Layer):
    """What timm's `nn.Module`s become: a Keras layer that lists its sublayers.

    `layers` is what `model.summary(expand_nested=True)` descends into.
    """

    @property
    def layers(self) -> list[keras.layers.Layer]:
        return self._flatten_layers(include_self=False, recursive=False)

    def with_timm_axes(self, name: str, output: tf.Tensor, x: tf.Tensor) -> tf.Tensor:
        """A sublayer's output with the axes that it has in timm.

        Here, tokens are rows where timm has three axes: (B*N, C) becomes (B, N, C). A
        layer that computes on other axes says so by a method of its own.

        Args:
            name: The sublayer's.
            output: What it gave.
            x: What this layer was called with, (B, N, C) if it works on tokens.
        """
        if len(x.shape) != 3 or len(output.shape) != 2:
            return output
        batch, tokens = sizes(x, 0, 1)
        return tf.reshape(output, (batch, tokens, output.shape[-1]))
