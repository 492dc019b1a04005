"""The batches of a training, each told by its number alone.

Which images, which boxes of them, and how they are mixed follows from the seed and from
how many images, or batches, came before: a run that goes on in the middle sees what it
would have seen.
"""

import tensorflow as tf

from vit_tf.finetune.labelled_images import LabelledImages
from vit_tf.preprocessing import DataConfig, create_transform
from vit_tf.preprocessing.decode import decode
from vit_tf.training import Mixup, TrainTransform
from vit_tf.training.mixup import mixed_targets

IMAGES, MIXING, ORDER = range(3)  # what draws of its own


def training_batches(
    images: LabelledImages,
    transform: TrainTransform,
    *,
    num_classes: int,
    batch_size: int,
    steps: int,
    first_epoch: int,
    epochs: int,
    seed: int,
    smoothing: float = 0.0,
    mixup: Mixup | None = None,
) -> tf.data.Dataset:
    """The batches from an epoch to the end of the training, without a break.

    Each epoch is another order of all images, of which the first `steps * batch_size`
    are seen.

    Args:
        images: What to train on.
        transform: From a file to what the model takes.
        num_classes: How many there are.
        batch_size: Of each batch.
        steps: How many batches an epoch has.
        first_epoch: Where to begin.
        epochs: How many the whole training has.
        seed: The run's.
        smoothing: Of labels, where nothing is mixed.
        mixup: How batches are mixed, and labels smoothed.

    Returns:
        (images, targets), (B, height, width, channels) float32 and (B, num_classes)
        float32.
    """
    read, labels = images.reader(), tf.constant(images.labels)
    per_epoch = steps * batch_size

    @tf.autograph.experimental.do_not_convert
    def one(number: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        epoch, position = number // per_epoch, number % per_epoch
        index = tf.random.experimental.index_shuffle(
            position, _seed(seed, ORDER, epoch), tf.constant(len(images) - 1, tf.int64)
        )
        return transform(read(index), _seed(seed, IMAGES, number)), labels[index]

    @tf.autograph.experimental.do_not_convert
    def targets(step: tf.Tensor, batch: tuple) -> tuple[tf.Tensor, tf.Tensor]:
        pixels, label = batch
        if mixup is not None:
            return mixup(pixels, label, _seed(seed, MIXING, step))
        lam = tf.ones((batch_size,), tf.float64)
        return pixels, mixed_targets(label, lam, num_classes, smoothing)

    numbers = tf.data.Dataset.range(first_epoch * per_epoch, epochs * per_epoch)
    batches = numbers.map(one, tf.data.AUTOTUNE, deterministic=True)
    batches = batches.batch(batch_size, drop_remainder=True)
    batches = batches.enumerate(start=first_epoch * steps)
    return batches.map(targets).prefetch(tf.data.AUTOTUNE)


def evaluation_batches(
    images: LabelledImages, data: DataConfig, *, num_classes: int, batch_size: int
) -> tf.data.Dataset:
    """All images once, as they are evaluated: (images, one-hot labels).

    The last batch may be smaller.
    """
    read, labels = images.reader(), tf.constant(images.labels)
    transform = create_transform(data)

    @tf.autograph.experimental.do_not_convert
    def one(index: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        return transform(read(index)), tf.one_hot(labels[index], num_classes)

    indices = tf.data.Dataset.range(len(images))
    batches = indices.map(one, tf.data.AUTOTUNE, deterministic=True)
    return batches.batch(batch_size).prefetch(tf.data.AUTOTUNE)


def unreadable(images: LabelledImages) -> str:
    """The first image that cannot be decoded, and why; "" where all can."""
    read = images.reader()
    for index, name in enumerate(images.names):
        try:
            decode(read(index))
        except tf.errors.OpError as error:
            return f"{name}: {error.message.partition(chr(10))[0]}"
    return ""


def _seed(seed: int, purpose: int, number: tf.Tensor) -> tf.Tensor:
    return tf.random.fold_in(tf.constant([seed, purpose], tf.int64), number)
