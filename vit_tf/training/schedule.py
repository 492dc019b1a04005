"""The learning rate over a training: a cosine behind a warm-up."""

import math

import keras
import tensorflow as tf


@keras.saving.register_keras_serializable(package="vit_tf")
class CosineSchedule(keras.optimizers.schedules.LearningRateSchedule):
    """timm's `CosineLRScheduler`, as `create_scheduler_v2` and train.py step it.

    With t the number of epochs that are over, T = `num_epochs` and W = `warmup_epochs`,

        t < W:  warmup_lr + t (lr - warmup_lr) / W
        else:   min_lr + (lr - min_lr) (1 + cos(pi t / T)) / 2,  min_lr from t = T on

    By default the rate stays what it is within an epoch, as in timm; with
    `step_on_epochs=False` t is a fraction that moves with each update. With
    `warmup_prefix` the cosine begins at 0 behind the warm-up, and T comes after W.

    `keras.optimizers.schedules.CosineDecay` gives the same numbers for
    `warmup_prefix=True, step_on_epochs=False` alone, and in float32; this computes
    in float64.

    Args:
        lr: The highest rate.
        num_epochs: Over how many epochs it decays.
        updates_per_epoch: How often an epoch updates the weights.
        warmup_epochs: Over how many it rises.
        warmup_lr: What it rises from.
        warmup_prefix: Whether `num_epochs` are counted from the end of the warm-up.
        min_lr: What it decays to.
        step_on_epochs: Whether it changes between epochs only.

    Raises:
        ValueError: if there is no epoch or no update, or a number is negative.
    """

    def __init__(
        self,
        lr: float,
        num_epochs: int,
        updates_per_epoch: int,
        *,
        warmup_epochs: int = 0,
        warmup_lr: float = 1e-5,
        warmup_prefix: bool = False,
        min_lr: float = 0.0,
        step_on_epochs: bool = True,
    ):
        counts = dict(num_epochs=num_epochs, updates_per_epoch=updates_per_epoch)
        others = dict(
            lr=lr, warmup_epochs=warmup_epochs, warmup_lr=warmup_lr, min_lr=min_lr
        )
        wrong = [f"{k}={v}: expected at least 1" for k, v in counts.items() if v < 1]
        wrong += [f"{k}={v}: expected at least 0" for k, v in others.items() if v < 0]
        if wrong:
            raise ValueError("; ".join(wrong))
        self.lr = lr
        self.num_epochs = num_epochs
        self.updates_per_epoch = updates_per_epoch
        self.warmup_epochs = warmup_epochs
        self.warmup_lr = warmup_lr
        self.warmup_prefix = warmup_prefix
        self.min_lr = min_lr
        self.step_on_epochs = step_on_epochs

    def __call__(self, step: int | tf.Tensor) -> tf.Tensor:
        """The learning rate of the update behind `step` others, a float64 scalar."""
        step = tf.cast(step, tf.int64)
        unit = self.updates_per_epoch
        if self.step_on_epochs:
            step, unit = step // unit, 1
        t = tf.cast(step, tf.float64)  # epochs or updates
        warmup_t, total = self.warmup_epochs * unit, self.num_epochs * unit
        warmup_lr, min_lr = (
            tf.constant(lr, tf.float64) for lr in (self.warmup_lr, self.min_lr)
        )
        rising = warmup_lr + t * ((self.lr - self.warmup_lr) / max(warmup_t, 1))
        behind = t - warmup_t if self.warmup_prefix else t
        cosine = tf.cos(behind * (math.pi / total))
        falling = min_lr + (0.5 * (self.lr - self.min_lr)) * (1 + cosine)
        falling = tf.where(behind < total, falling, min_lr)
        return tf.where(t < warmup_t, rising, falling)

    def get_config(self) -> dict:
        return dict(vars(self))
