"""The straight line of a fine-tuning: bundle, data, training, bundle."""

import contextlib
import dataclasses
import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import keras
import numpy as np
import tensorflow as tf
from ml_collections import ConfigDict

from vit_tf.export import bundle as bundles
from vit_tf.export.staging import check_place
from vit_tf.finetune import distributed
from vit_tf.finetune import recipe as recipes
from vit_tf.finetune.averages import EvaluateAverages
from vit_tf.finetune.batches import evaluation_batches, training_batches, unreadable
from vit_tf.finetune.labelled_images import Data, open_data
from vit_tf.finetune.progress import ProgressBar
from vit_tf.finetune.start import Start, class_order, start
from vit_tf.finetune.state import CHECKPOINT, State, history, prepare
from vit_tf.finetune.strategies import is_chief, strategy_of
from vit_tf.finetune.write import write_bundle
from vit_tf.pipeline import Conversion

LOGS, WEIGHTS = "logs", "weights"


@dataclasses.dataclass(frozen=True)
class Finetuning:
    """What `finetune` did.

    Attributes:
        conversion: How the new bundle was proven; None on a worker that wrote none.
        history: For each epoch `loss`, `top1`, `val_loss`, `val_top1`, and `losses`,
            the epoch's mean behind each batch.
        state: The folder of TensorBoard's logs and of the history.
        notes: What was trained, on what, a line each.
    """

    conversion: Conversion | None
    history: list[dict[str, Any]]
    state: Path
    notes: tuple[str, ...]

    def __str__(self) -> str:
        lines = [str(self.conversion)] if self.conversion else []
        lines += [f"trained   {note}" for note in self.notes]
        for last in self.history[-1:]:
            top1, loss = last["val_top1"], last["val_loss"]
            lines.append(f"held out  top-1 {top1:.4f}, loss {loss:.4f}")
        lines.append(f"logs      tensorboard --logdir={self.state / LOGS}")
        return "\n".join(lines)


def finetune(
    bundle: str | Path,
    data: str,
    out: str | Path,
    recipe: ConfigDict,
    *,
    strategy: str = "none",
    resume: bool = False,
    overwrite: bool = False,
    bar: bool = False,
    progress: Callable[[str], None] = lambda step: None,
) -> Finetuning:
    """Trains a bundle's model on labelled images, and writes a new bundle.

    What goes on meanwhile is in OUT.training: `logs` for TensorBoard, `history.jsonl`,
    the new `weights` as timm has them, and, until the bundle is written, what a
    training that was stopped goes on from. It goes on from the last epoch that was
    over, to the same losses.

    Args:
        bundle: What `convert` wrote. Its preprocessing is the new one's.
        data: A folder of class folders, or "tfds:NAME": see `open_data`.
        out: Where to write the new bundle. It appears there whole or not at all.
        recipe: As `configs/finetune.py` gives it.
        strategy: "none", "mirrored" or "multi_worker": see `strategy_of`. Of several
            workers the first writes; all see the same folders.
        resume: Whether a training that was stopped is gone on with.
        overwrite: Whether a bundle, or the state of a training, that is there may be
            replaced.
        bar: Whether to show a progress bar.
        progress: Called with the name of each step as it begins.

    Raises:
        BundleError: if `bundle` is none, or does not say how images are prepared.
        DatasetError: if the data cannot be trained on.
        SetupError: if the state of a training is there, and not this one's.
        ValueError: if the recipe cannot be; or an image cannot be read.
        ConnectionError: if another worker ended.
        FileExistsError: if something is at `out` that may not be replaced.
        ParityError: if the result is not the same model in timm.
    """
    bundle, out = Path(bundle), Path(out)
    folder = out.with_name(f"{out.name}.training")
    devices = strategy_of(strategy)
    chief = is_chief(devices)
    recipes.check(recipe)
    check_place(out.resolve(), bundles.is_bundle if overwrite else None)
    progress("read the data")
    images = _opened(bundle, data, recipe)
    _check_share(recipe, devices.num_replicas_in_sync)
    steps = recipes.steps_of(recipe, len(images.train))
    progress("build the model")
    with devices.scope():
        begun = _compiled(bundle, recipe, images, steps)
    make = _batches(recipe, begun, images, steps)
    if chief:
        setup = _setup(bundle, images, recipe)
        prepare(folder, setup, resume=resume, overwrite=overwrite)
    progress("train")
    with (
        _failures_named(images),
        _nothing_left(folder if chief else None),
        contextlib.ExitStack() as opened,
    ):
        state = State(folder, begun.model, chief=chief)
        first_epoch = state.restore() if resume else 0
        callbacks = [state, *_callbacks(recipe, folder if chief else None)]
        if bar and chief:
            shown = ProgressBar(steps, recipe.epochs, first_epoch)
            callbacks.append(opened.enter_context(contextlib.closing(shown)))
        _fit(recipe, begun.model, make, steps, first_epoch, callbacks, strategy)
    notes = _notes(bundle, images, begun, recipe, steps)
    if not chief:
        return Finetuning(None, [], folder, notes)
    conversion = write_bundle(
        begun,
        out,
        weights=folder / WEIGHTS,
        notes=notes,
        overwrite=overwrite,
        progress=progress,
    )
    shutil.rmtree(folder / CHECKPOINT)
    return Finetuning(conversion, history(folder), folder, notes)


def _compiled(bundle: Path, recipe: ConfigDict, images: Data, steps: int) -> Start:
    """The model, ready for `fit`; all its variables are there."""
    keras.utils.set_random_seed(recipe.seed)
    begun = start(bundle, recipe, images.class_names)
    begun.model.compile(
        recipes.optimizer_of(recipe, begun.model, steps),
        recipes.loss_of(recipe),
        metrics=[keras.metrics.CategoricalAccuracy("top1")],
        jit_compile=recipe.jit_compile,
    )
    if not begun.model.optimizer.built:  # compile has put one around it
        begun.model.optimizer.build(begun.model.trainable_variables)
    return begun


@contextlib.contextmanager
def _failures_named(images: Data) -> Iterator[None]:
    """
    Raises:
        ValueError: naming the image that cannot be decoded, where that is what failed.
        ConnectionError: if another worker ended.
    """
    try:
        yield
    except tf.errors.UnavailableError as error:
        raise ConnectionError(
            "another worker ended, or cannot be reached; expected: all of TF_CONFIG's "
            "(the same command with --resume in each of them goes on)"
        ) from error
    except tf.errors.OpError as error:
        broken = unreadable(images.train) or unreadable(images.evaluation)
        if not broken:
            raise
        raise ValueError(f"an image cannot be read: {broken}") from error


@contextlib.contextmanager
def _nothing_left(folder: Path | None) -> Iterator[None]:
    """Removes the folder of a training that failed before it could be gone on with."""
    try:
        yield
    finally:
        if folder is not None and not (folder / CHECKPOINT).exists():
            shutil.rmtree(folder, ignore_errors=True)


def _opened(bundle: Path, data: str, recipe: ConfigDict) -> Data:
    """The data, with classes in the bundle's order where they are the bundle's."""
    images = open_data(
        data,
        train_split=recipe.train_split,
        val_split=recipe.val_split,
        val_share=recipe.val_share,
        seed=recipe.seed,
    )
    names = class_order(bundle, images.class_names)
    place = np.array([names.index(name) for name in images.class_names])
    train, evaluation = (
        dataclasses.replace(part, labels=place[part.labels])
        for part in (images.train, images.evaluation)
    )
    return Data(train, evaluation, names, images.note)


def _check_share(recipe: ConfigDict, replicas: int) -> None:
    """
    Raises:
        ValueError: if a batch is not shared evenly, or several devices were to compile.
    """
    if replicas > 1 and recipe.jit_compile:
        raise ValueError(
            f"config.jit_compile=True with {replicas} devices found; expected: one"
        )
    if recipe.batch_size % replicas:
        raise ValueError(
            f"config.batch_size={recipe.batch_size} with {replicas} devices found; "
            f"expected: a multiple of {replicas}"
        )


def _setup(bundle: Path, images: Data, recipe: ConfigDict) -> dict[str, Any]:
    """All that decides what a training is."""
    return {
        "bundle": bundles.digest(bundles.computing_hashes(bundle)),
        "data": images.digest(),
        **{f"config.{name}": value for name, value in recipe.to_dict().items()},
    }


def _batches(
    recipe: ConfigDict, begun: Start, images: Data, steps: int
) -> Callable[[int], tuple[tf.data.Dataset, tf.data.Dataset]]:
    """What gives, from an epoch on, the batches to train on and those to evaluate."""
    classes = len(images.class_names)
    transform = recipes.transform_of(recipe, begun.data)
    mixup = recipes.mixup_of(recipe, classes)

    def make(first_epoch: int) -> tuple[tf.data.Dataset, tf.data.Dataset]:
        train = training_batches(
            images.train,
            transform,
            num_classes=classes,
            batch_size=recipe.batch_size,
            steps=steps,
            first_epoch=first_epoch,
            epochs=recipe.epochs,
            seed=recipe.seed,
            smoothing=recipe.smoothing,
            mixup=mixup,
        )
        evaluation = evaluation_batches(
            images.evaluation,
            begun.data,
            num_classes=classes,
            batch_size=recipe.batch_size,
        )
        return train, evaluation

    return make


def _callbacks(
    recipe: ConfigDict, folder: Path | None
) -> list[keras.callbacks.Callback]:
    """What happens beside training; logs are written where there is a folder."""
    callbacks: list[keras.callbacks.Callback] = []
    if folder is not None:
        logs = keras.callbacks.TensorBoard(str(folder / LOGS), write_graph=False)
        callbacks.append(logs)
    if recipe.model_ema_decay is not None:
        callbacks.append(EvaluateAverages())
    return callbacks


def _fit(
    recipe: ConfigDict,
    model: keras.Model,
    make: Callable[[int], tuple[tf.data.Dataset, tf.data.Dataset]],
    steps: int,
    first_epoch: int,
    callbacks: Sequence[keras.callbacks.Callback],
    strategy: str,
) -> None:
    """Trains the epochs that are left; averages, if any, are the weights behind it."""
    if first_epoch == recipe.epochs:  # all that was missing is the bundle
        model.optimizer.finalize_variable_values(model.trainable_variables)
        return
    train, evaluation = make(first_epoch)
    if strategy != "none":
        distributed.fit(
            model,
            train,
            evaluation,
            first_epoch=first_epoch,
            epochs=recipe.epochs,
            steps=steps,
            callbacks=callbacks,
        )
        return
    model.fit(
        train,
        validation_data=evaluation,
        initial_epoch=first_epoch,
        epochs=recipe.epochs,
        steps_per_epoch=steps,
        shuffle=False,  # the batches have their order
        callbacks=callbacks,
        verbose=0,
    )


def _notes(
    bundle: Path, images: Data, begun: Start, recipe: ConfigDict, steps: int
) -> tuple[str, ...]:
    told: Mapping[str, Any] = begun.described
    return (
        f"fine-tuned from {bundle} ({told['architecture']})",
        f"on {len(images.train)} images of {len(images.class_names)} classes: "
        f"{images.note}",
        begun.note,
        f"{recipe.epochs} epochs of {steps} batches of {recipe.batch_size}, "
        f"{recipe.opt}, lr {recipe.lr:g}, seed {recipe.seed}",
    )
