"""An epoch after another on several devices, of one machine or of several.

Keras's `fit` does not take the batches of `MultiWorkerMirroredStrategy`, nor a first
batch that devices do not share evenly. Here a batch is cut into as many parts as there
are devices, and what is held out is summed up, image by image.
"""

from collections.abc import Callable, Sequence

import keras
import tensorflow as tf


def fit(
    model: keras.Model,
    train: tf.data.Dataset,
    evaluation: tf.data.Dataset,
    *,
    first_epoch: int,
    epochs: int,
    steps: int,
    callbacks: Sequence[keras.callbacks.Callback],
) -> None:
    """Trains a model as `fit` does, by the strategy in whose scope it was compiled.

    Args:
        model: Compiled with a loss and one metric, the accuracy, named "top1".
        train: (images, targets) of all devices, of a batch size that is a multiple of
            their number; `steps` batches for each epoch.
        evaluation: (images, targets) that are held out, in batches of any size.
        first_epoch: How many epochs are over.
        epochs: How many there are.
        steps: How many batches an epoch has.
        callbacks: What happens meanwhile, on this worker.
    """
    strategy = model.distribute_strategy

    @tf.function
    def train_step(batch):
        logs = strategy.run(model.train_step, args=(batch,))  # of as many images each
        return {k: strategy.reduce("MEAN", v, axis=None) for k, v in logs.items()}

    called = keras.callbacks.CallbackList(
        callbacks, model=model, epochs=epochs, steps=steps
    )
    batches = iter(_parts(strategy, train))
    evaluate = _evaluation(model, evaluation)
    called.on_train_begin()
    for epoch in range(first_epoch, epochs):
        model.reset_metrics()
        called.on_epoch_begin(epoch)
        for step in range(steps):
            called.on_train_batch_begin(step)
            called.on_train_batch_end(step, train_step(next(batches)))
        logs = {
            name: float(value) for name, value in model.get_metrics_result().items()
        }
        called.on_test_begin()
        held_out = evaluate()
        called.on_test_end(held_out)
        logs |= {f"val_{name}": value for name, value in held_out.items()}
        called.on_epoch_end(epoch, logs)
    model.optimizer.finalize_variable_values(model.trainable_variables)
    called.on_train_end()


def _evaluation(
    model: keras.Model, evaluation: tf.data.Dataset
) -> Callable[[], dict[str, float]]:
    """What gives the mean loss, and the share of images that are named first."""
    strategy = model.distribute_strategy
    replicas = strategy.num_replicas_in_sync

    def sums(images, targets, counts):
        outputs = tf.cast(model(images, training=False), tf.float32)
        losses = tf.reshape(model.loss.call(targets, outputs), (len(targets), -1))
        correct = tf.argmax(outputs, -1) == tf.argmax(targets, -1)
        found = counts, tf.reduce_mean(losses, 1), tf.cast(correct, tf.float32)
        return [tf.reduce_sum(counts * values) for values in found]

    @tf.function
    def step(batch):
        found = strategy.run(sums, args=batch)
        return [strategy.reduce("SUM", value, axis=None) for value in found]

    def filled_up(images, targets):
        """The same for each device: what is there to fill up counts as nothing."""
        missing = -len(targets) % replicas
        first = tf.zeros(missing, tf.int32)  # an image of its own again
        counts = tf.concat([tf.ones(len(targets)), tf.zeros(missing)], 0)
        return *(
            tf.concat([x, tf.gather(x, first)], 0) for x in (images, targets)
        ), counts

    whole = evaluation.map(filled_up)
    steps = int(evaluation.cardinality())

    def evaluate() -> dict[str, float]:
        batches = iter(_parts(strategy, whole))
        total = [0.0, 0.0, 0.0]
        for _ in range(steps):
            found = [float(value) for value in step(next(batches))]
            total = [a + b for a, b in zip(total, found, strict=True)]
        images, loss, correct = total
        return {"loss": loss / images, "top1": correct / images}

    return evaluate


def _parts(
    strategy: tf.distribute.Strategy, batches: tf.data.Dataset
) -> tf.distribute.DistributedDataset:
    """Of every batch, each device has the part of its number.

    Each worker makes all batches, of which it uses its own devices' parts.
    """
    replicas = strategy.num_replicas_in_sync

    def of_worker(context: tf.distribute.InputContext) -> tf.data.Dataset:
        devices = replicas // context.num_input_pipelines
        first = context.input_pipeline_id * devices

        def parts(*batch):
            size = len(batch[0]) // replicas

            def part(device):
                return tuple(x[device * size : (device + 1) * size] for x in batch)

            numbers = tf.data.Dataset.range(first, first + devices)
            return numbers.map(lambda device: part(tf.cast(device, tf.int32)))

        return batches.flat_map(parts).prefetch(tf.data.AUTOTUNE)

    return strategy.distribute_datasets_from_function(of_worker)
