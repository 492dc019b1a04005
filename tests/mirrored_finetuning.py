"""The losses of a fine-tuning on one device, and on two: mirrored_finetuning.py JSON.

Two logical CPUs, which a process has to ask for before it computes anything.
"""

import json
import sys
from pathlib import Path

from vit_tf import quiet

quiet.import_tensorflow()

import tensorflow as tf  # noqa: E402
from ml_collections import ConfigDict  # noqa: E402

from vit_tf.finetune import run, state  # noqa: E402


def main(arguments: dict) -> None:
    cpu = tf.config.list_physical_devices("CPU")[0]
    two = [tf.config.LogicalDeviceConfiguration()] * 2
    tf.config.set_logical_device_configuration(cpu, two)
    found = {}

    def stop(start, out, **options):  # a bundle is not what is looked at
        found[out.name] = state.history(out.with_name(f"{out.name}.training"))

    run.write_bundle = stop
    recipe, folder = ConfigDict(arguments.pop("recipe")), Path(arguments.pop("out"))
    for strategy in ("none", "mirrored"):
        run.finetune(
            **arguments, out=folder / strategy, recipe=recipe, strategy=strategy
        )
    json.dump(found, sys.stdout)


if __name__ == "__main__":
    main(json.loads(sys.argv[1]))
