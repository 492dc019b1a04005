"""Fine-tunes a bundle on labelled images, and writes a new bundle.

    python -m vit_tf.finetune --bundle=out/deit --data=flowers --out=out/flowers
    python -m vit_tf.finetune --bundle=out/deit --data=tfds:beans --out=out/beans \\
        --config=configs/finetune.py --config.epochs=50 --config.mixup=0.8
    python -m vit_tf.to_timm --bundle=out/flowers --out=back

Any field of configs/finetune.py can be given as --config.FIELD=VALUE. OUT.training has
TensorBoard's logs. Stopped at any moment, the same command with --resume goes on from
the last epoch that was over.
"""

import os
import re
import sys
from pathlib import Path

from absl import flags
from ml_collections import ConfigDict, config_flags

import vit_tf.configs
from vit_tf import command, quiet

RECIPE = str(Path(vit_tf.configs.__path__[0]) / "finetune.py")
STRATEGIES = ("none", "mirrored", "multi_worker")


def define(argv: list[str]) -> flags.FlagValues:
    """The flags of this command: anew each time, as a recipe's fields join them."""
    found = flags.FlagValues()
    texts = {
        "bundle": "what convert.py wrote",
        "data": "the images: a folder of class folders, with or without train and "
        "val, validation or test; or tfds:NAME",
        "out": "folder to write the new bundle to",
    }
    for name, text in texts.items():
        flags.DEFINE_string(name, "", text, flag_values=found)
    config_flags.DEFINE_config_file(
        "config",
        RECIPE,
        "the recipe; any field: --config.lr=1e-4",
        flag_values=found,
        sys_argv=argv,
    )
    flags.DEFINE_enum(
        "strategy", "none", STRATEGIES, "on how many devices", flag_values=found
    )
    texts = {
        "resume": "go on with a training that was stopped",
        "overwrite": "replace a bundle, or the state of a training, that is there",
        "deterministic": "the same losses, bit for bit, each time",
        "debug": "show where an error comes from",
        "help": "show this",
    }
    for name, text in texts.items():
        default = name == "deterministic"
        flags.DEFINE_bool(name, default, text, flag_values=found)
    return found


def run(argv: list[str]) -> None:
    """Runs the command; one clear message and a non-zero exit where it fails."""
    stopped = "stopped; the same command with --resume goes on"
    command.run("finetune", main, argv, stopped=stopped)


def main(argv: list[str]) -> None:
    values = define(argv)
    others = parse(values, argv)
    command.check_given(values, ("bundle", "data", "out"), others)
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")  # a bad image is reported
    quiet.import_tensorflow()
    quiet.drop_notes()
    import tensorflow as tf

    from vit_tf.finetune.run import finetune

    if values.deterministic:
        tf.config.experimental.enable_op_determinism()
    print(
        finetune(
            values.bundle,
            values.data,
            values.out,
            values.config,
            strategy=values.strategy,
            resume=values.resume,
            overwrite=values.overwrite,
            bar=True,
        )
    )


def parse(values: flags.FlagValues, argv: list[str]) -> list[str]:
    """As `command.parse`; what is wrong with --config is said in a line.

    Raises:
        ValueError: naming the flag, what was found, and what was expected.
    """
    try:
        return command.parse(values, argv, __doc__)
    except (AttributeError, LookupError) as error:  # --config.FIELD, which is not there
        recipe = values["config"].value
        known = ", ".join(recipe) if isinstance(recipe, ConfigDict) else "nothing"
        given = (re.match(r"--?(?:no)?config\.([^=]+)", text) for text in argv)
        unknown = [found[1] for found in given if found and found[1] not in known]
        raise ValueError(
            f"--config.{', --config.'.join(unknown) or '?'}: no such field; it has "
            f"{known}"
        ) from error


if __name__ == "__main__":
    run(sys.argv)
