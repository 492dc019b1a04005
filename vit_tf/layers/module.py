"""A layer made of layers."""

import keras


class Module(keras.layers.Layer):
    """What timm's `nn.Module`s become: a Keras layer that lists its sublayers.

    `layers` is what `model.summary(expand_nested=True)` descends into.
    """

    @property
    def layers(self) -> list[keras.layers.Layer]:
        return self._flatten_layers(include_self=False, recursive=False)
