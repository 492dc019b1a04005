"""A bar for a whole training."""

from collections.abc import Mapping

import keras
from tqdm import tqdm


class ProgressBar(keras.callbacks.Callback):
    """One line, until it is closed: epoch, batches, the loss, the last top-1.

    Args:
        steps: How many batches an epoch has.
        epochs: How many epochs there are.
        first_epoch: How many are over.
    """

    def __init__(self, steps: int, epochs: int, first_epoch: int):
        super().__init__()
        total, before = steps * epochs, steps * first_epoch
        self._bar = tqdm(total=total, initial=before, unit="batch")
        self._epochs = epochs
        self._said: dict[str, str] = {}

    def on_epoch_begin(self, epoch: int, logs: Mapping | None = None) -> None:
        self._bar.set_description(f"epoch {epoch + 1}/{self._epochs}", refresh=False)

    def on_train_batch_end(self, batch: int, logs: Mapping | None = None) -> None:
        self._said["loss"] = f"{logs['loss']:.4f}"
        self._bar.set_postfix(self._said, refresh=False)
        self._bar.update()

    def on_epoch_end(self, epoch: int, logs: Mapping | None = None) -> None:
        self._said |= {
            name: f"{value:.4f}"
            for name, value in (logs or {}).items()
            if name.startswith("val_")
        }

    def close(self) -> None:
        self._bar.close()
