"""A fine-tuning that kills itself (-9) at a batch: killed_finetuning.py JSON."""

import json
import os
import signal
import sys

from vit_tf import quiet

quiet.import_tensorflow()

from ml_collections import ConfigDict  # noqa: E402

from vit_tf.finetune import run, state  # noqa: E402


def main(arguments: dict) -> None:
    epoch, batch = arguments.pop("kill")
    seen = state.State.on_train_batch_end

    def on_train_batch_end(self, number, logs=None):
        seen(self, number, logs)
        if (int(self._epoch.numpy()), number) == (epoch, batch):
            os.kill(os.getpid(), signal.SIGKILL)

    state.State.on_train_batch_end = on_train_batch_end
    recipe = ConfigDict(arguments.pop("recipe"))
    run.finetune(**arguments, recipe=recipe, resume=True)


if __name__ == "__main__":
    main(json.loads(sys.argv[1]))
