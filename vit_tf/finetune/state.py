"""What a training that was stopped goes on from."""

import json
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import keras
import tensorflow as tf

SETUP, HISTORY, CHECKPOINT = "setup.json", "history.jsonl", "checkpoint"
PARTIAL = ".partial"


class SetupError(ValueError):
    """A training is there that cannot be gone on with."""


def prepare(
    folder: Path, setup: Mapping[str, Any], *, resume: bool, overwrite: bool
) -> None:
    """Makes the folder of a training, or sees to it that it is the same training's.

    Args:
        folder: Where its state is.
        setup: All that decides what the training is, as JSON holds it.
        resume: Whether one that is there may be gone on with.
        overwrite: Whether one that is there may be deleted.

    Raises:
        SetupError: if one is there and neither is so, or it is of another setup:
            listing every field that differs; or if something else is there.
        NotADirectoryError: if a file is in the way.
    """
    said = json.loads(json.dumps(setup))
    path = folder / SETUP
    there = folder.exists() and any(
        inside.suffix != PARTIAL for inside in folder.iterdir()
    )
    if there and not path.is_file():
        raise SetupError(
            f"{folder} exists, and is not the state of a training; expected: nothing "
            "there, or another --out"
        )
    if there and resume:
        _check_same(path, json.loads(path.read_text()), said)
        return
    if there and not overwrite:
        raise SetupError(
            f"{folder} is the state of an earlier training; pass --resume to go on "
            "with it, or --overwrite to begin anew"
        )
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    _write(path, json.dumps(said, indent=1) + "\n")


def _write(path: Path, text: str) -> None:
    """A file that is there whole, or as it was."""
    aside = path.with_suffix(PARTIAL)
    aside.write_text(text)
    aside.replace(path)


def _check_same(
    path: Path, there: Mapping[str, Any], wanted: Mapping[str, Any]
) -> None:
    absent = "nothing"
    differing = [
        f"{name} was {there.get(name, absent)!r}, is {wanted.get(name, absent)!r}"
        for name in sorted({*there, *wanted})
        if there.get(name, absent) != wanted.get(name, absent)
    ]
    if differing:
        raise SetupError(
            f"{path}: {'; '.join(differing)}; expected: the same, to go on with that "
            "training (--overwrite begins anew)"
        )


class State(keras.callbacks.Callback):
    """Saves a training after each epoch, and goes on with it.

    All that the next epoch depends on: weights, what the optimizer keeps (moments,
    averages, the number of updates), the states of what draws in the model, and the
    number of epochs; batches follow from that number. A checkpoint is there whole or
    not: TensorFlow writes it beside the last one, and then names it in one rename.
    `keras.callbacks.BackupAndRestore` writes over its only file, and the number of
    the epoch into another: a kill between the two leaves what is neither.

    Args:
        folder: The training's.
        model: The model, compiled, with an optimizer that is built.
        chief: Whether this worker is the one that saves; the others go on with it.
    """

    def __init__(self, folder: Path, model: keras.Model, *, chief: bool = True):
        super().__init__()
        self._chief = chief
        self._history = folder / HISTORY
        self._epoch = tf.Variable(0, dtype=tf.int64, trainable=False)
        checkpoint = tf.train.Checkpoint(
            epoch=self._epoch,
            model=[variable.value for variable in model.variables],
            optimizer=[variable.value for variable in model.optimizer.variables],
        )
        self._manager = tf.train.CheckpointManager(
            checkpoint, str(folder / CHECKPOINT), max_to_keep=1
        )
        self._losses: list[float] = []

    def restore(self) -> int:
        """Puts the last state into the model; how many epochs are behind it."""
        if latest := self._manager.latest_checkpoint:
            self._manager.checkpoint.restore(latest).assert_existing_objects_matched()
        epoch = int(self._epoch.numpy())
        if self._chief and self._history.exists():  # what came after is to come again
            lines = self._history.read_text().splitlines(keepends=True)
            _write(self._history, "".join(lines[:epoch]))
        return epoch

    def on_epoch_begin(self, epoch: int, logs: Mapping | None = None) -> None:
        self._losses = []

    def on_train_batch_end(self, batch: int, logs: Mapping | None = None) -> None:
        self._losses.append(float(logs["loss"]))

    def on_epoch_end(self, epoch: int, logs: Mapping | None = None) -> None:
        if not self._chief:
            return
        self._note(epoch, logs or {})
        self._epoch.assign(epoch + 1)
        self._manager.save(checkpoint_number=epoch + 1)

    def _note(self, epoch: int, logs: Mapping) -> None:
        row = {name: float(value) for name, value in logs.items()}
        row = {"epoch": epoch + 1, **row, "losses": self._losses}
        with self._history.open("a") as file:
            file.write(json.dumps(row) + "\n")


def history(folder: Path) -> list[dict[str, Any]]:
    """What each epoch gave: its number, its metrics, and `losses`.

    `losses` has a number for each batch: the mean over the epoch until then.
    """
    path = folder / HISTORY
    lines = path.read_text().splitlines() if path.exists() else []
    return [json.loads(line) for line in lines]
