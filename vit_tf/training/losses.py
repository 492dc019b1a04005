"""The one loss of timm's training that Keras has no equal of.

The others are Keras's, with `from_logits=True`: timm's `SoftTargetCrossEntropy`, for
the targets of `Mixup`, is `CategoricalCrossentropy`, and `LabelSmoothingCrossEntropy`
the same with `label_smoothing`, on one-hot labels.
"""

from typing import Any

import keras
import tensorflow as tf


@keras.saving.register_keras_serializable(package="vit_tf")
class BinaryCrossEntropy(keras.losses.Loss):
    """timm's `BinaryCrossEntropy`: each class by itself, of logits.

    Keras's `BinaryCrossentropy` smooths towards 1/2, where this spreads what it takes
    over the classes as a softmax's smoothing does; and it has no threshold.

    Source: timm/loss/binary_cross_entropy.py; https://arxiv.org/abs/2110.00476.

    Args:
        smoothing: Of labels that are numbers, (B,). Targets, (B, C), are taken as they
            are.
        target_threshold: What is above it is 1, what is not is 0; None for nothing.
        sum_classes: Whether classes are added up, and not averaged.

    Raises:
        ValueError: if `smoothing` is not from 0 to below 1.
    """

    def __init__(
        self,
        smoothing: float = 0.1,
        target_threshold: float | None = None,
        sum_classes: bool = False,
        **kwargs,
    ):
        super().__init__(**kwargs)
        if not 0 <= smoothing < 1:
            raise ValueError(f"smoothing={smoothing!r} found, 0 to below 1 expected")
        self.smoothing = smoothing
        self.target_threshold = target_threshold
        self.sum_classes = sum_classes

    def call(self, y_true: tf.Tensor, y_pred: tf.Tensor) -> tf.Tensor:
        targets = y_true
        if len(targets.shape) < len(y_pred.shape) or targets.shape[-1] == 1:
            labels = tf.cast(tf.reshape(targets, (-1,)), tf.int32)
            classes = y_pred.shape[-1]
            off = self.smoothing / classes
            on = 1.0 - self.smoothing + off
            targets = tf.one_hot(labels, classes, on, off, dtype=y_pred.dtype)
        if self.target_threshold is not None:
            targets = tf.cast(targets > self.target_threshold, y_pred.dtype)
        losses = tf.nn.sigmoid_cross_entropy_with_logits(targets, y_pred)
        reduce = tf.reduce_sum if self.sum_classes else tf.reduce_mean
        return reduce(losses, axis=-1)

    def get_config(self) -> dict[str, Any]:
        return {
            **super().get_config(),
            "smoothing": self.smoothing,
            "target_threshold": self.target_threshold,
            "sum_classes": self.sum_classes,
        }
