"""A model that is evaluated with the moving average of its weights."""

from collections.abc import Mapping

import keras
import numpy as np


class EvaluateAverages(keras.callbacks.Callback):
    """While the model is evaluated, its weights are the optimizer's averages.

    `keras.callbacks.SwapEMAWeights` exchanges the two by additions, which round: the
    weights are others then, after each evaluation. Here they are the same.
    """

    def on_test_begin(self, logs: Mapping | None = None) -> None:
        optimizer = self.model.optimizer
        optimizer = getattr(optimizer, "inner_optimizer", optimizer)
        trained = self.model.trainable_variables
        self._kept: list[np.ndarray] = [variable.numpy() for variable in trained]
        optimizer.finalize_variable_values(trained)

    def on_test_end(self, logs: Mapping | None = None) -> None:
        for variable, value in zip(
            self.model.trainable_variables, self._kept, strict=True
        ):
            variable.assign(value)
