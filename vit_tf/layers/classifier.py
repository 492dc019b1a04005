"""The projection to logits, alone and behind the pooling of a feature map."""

import keras
import tensorflow as tf
from keras import ops

from vit_tf.layers.adaptive_avgmax_pool import SelectAdaptivePool2d
from vit_tf.layers.identity import Identity
from vit_tf.layers.initializers import Normal
from vit_tf.layers.module import Module


class ClassifierHead(Module):
    """timm's `layers/classifier.py`, channels last.

    Args:
        num_classes: Number of classes; 0 for none, pooled features.
        pool_type: As in `SelectAdaptivePool2d`; with "", each position is classified.
        drop_rate: Dropout rate before the classifier.

    Raises:
        ValueError: if there is no such pooling.
    """

    def __init__(
        self,
        num_classes: int,
        pool_type: str = "avg",
        drop_rate: float = 0.0,
        **kwargs,
    ):
        super().__init__(autocast=False, **kwargs)  # pooled in full
        self.num_classes = num_classes
        self.pool_type = pool_type
        self.drop_rate = drop_rate

    def build(self, input_shape):
        dtype = self.variable_dtype
        self.global_pool = SelectAdaptivePool2d(
            self.pool_type, dtype=self.variable_dtype, name="global_pool"
        )
        self.drop = keras.layers.Dropout(self.drop_rate, dtype=dtype, name="drop")
        self.fc = create_classifier(self, "fc")
        self.global_pool.build(input_shape)
        pooled = self.global_pool.compute_output_shape(input_shape)
        for layer in (self.drop, self.fc):
            layer.build(pooled)

    def call(
        self, x: tf.Tensor, pre_logits: bool = False, training: bool = False
    ) -> tf.Tensor:
        x = self.global_pool(x)
        x = self.drop(x, training=training)
        return x if pre_logits else self.fc(x)

    def compute_output_shape(self, input_shape):
        pooled = self.global_pool.compute_output_shape(input_shape)
        return (*pooled[:-1], self.num_classes) if self.num_classes else pooled


class Classifier(keras.layers.Dense):
    """The projection to logits, which in mixed precision are not rounded.

    torch rounds the sum of product and bias. TensorFlow rounds the product; rounding
    the sum again would take logits farther from float32 than torch's are.
    """

    def call(self, x: tf.Tensor, training: bool | None = None) -> tf.Tensor:
        x = ops.matmul(x, self.kernel)
        dtype = self.variable_dtype
        return ops.cast(x, dtype) + ops.cast(self.bias, dtype)


def create_classifier(
    owner: keras.layers.Layer, name: str
) -> keras.layers.Layer | Identity:
    """The last projection of `owner`, which has `num_classes`; none gives features.

    In mixed precision features have the precision of the weights, as logits do.
    """
    if not owner.num_classes:
        return Identity(dtype=owner.variable_dtype, name=name)
    return Classifier(
        owner.num_classes,
        kernel_initializer=Normal(),
        dtype=owner.dtype_policy,
        name=name,
    )
