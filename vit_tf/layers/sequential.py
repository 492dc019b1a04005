"""Layers that run one after the other."""

from collections.abc import Sequence

import keras
import tensorflow as tf

from vit_tf.layers.module import Module


class Sequential(Module):
    """torch's `nn.Sequential`: a place in the layers' names, which computes nothing.

    So it is left out where layers are recorded, as torch's is (`activations`).

    Args:
        modules: The layers, in order, not yet built.
    """

    def __init__(self, modules: Sequence[keras.layers.Layer], **kwargs):
        super().__init__(**kwargs)
        self.modules = list(modules)

    def build(self, input_shape):
        for module in self.modules:
            module.build(input_shape)
            input_shape = module.compute_output_shape(input_shape)

    def call(self, x: tf.Tensor, training: bool = False) -> tf.Tensor:
        for module in self.modules:
            x = module(x, training=training)
        return x

    def compute_output_shape(self, input_shape):
        for module in self.modules:
            input_shape = module.compute_output_shape(input_shape)
        return input_shape
