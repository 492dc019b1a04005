"""LayerScale: a learned factor for each channel of a residual branch."""

import keras
import tensorflow as tf


class LayerScale(keras.layers.Layer):
    """`x * gamma` (https://arxiv.org/abs/2103.17239; timm's `layers/layer_scale.py`).

    Args:
        init_values: What gamma starts from.
    """

    def __init__(self, init_values: float = 1e-5, **kwargs):
        super().__init__(**kwargs)
        self.init_values = init_values

    def build(self, input_shape):
        self.gamma = self.add_weight(
            name="gamma",
            shape=(input_shape[-1],),
            initializer=keras.initializers.Constant(self.init_values),
        )

    def call(self, x: tf.Tensor) -> tf.Tensor:
        return x * self.gamma

    def compute_output_shape(self, input_shape):
        return input_shape
