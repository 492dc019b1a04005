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
from ml_collections import config_flags

from vit_tf import command, quiet
from vit_tf.configs import finetune

RECIPE = finetune.__file__


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
    flags.DEFINE_string(
        "strategy",
        "none",
        "none (one device), mirrored (all of this machine), or multi_worker (all that "
        "TF_CONFIG lists)",
        flag_values=found,
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
    values, others = parse(argv)
    command.check_given(values, ("bundle", "data", "out"), others)
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")  # a bad image is reported
    quiet.import_tensorflow()
    quiet.drop_notes()
    import tensorflow as tf

    from vit_tf.finetune import run as line

    if values.deterministic:
        tf.config.experimental.enable_op_determinism()
    print(
        line.finetune(
            values.bundle,
            values.data,
            values.out,
            values.config,
            strategy=values.strategy,
            resume=values.resume,
            overwrite=values.overwrite,
            bar=True,
            progress=lambda step: print(f"{step} ...", file=sys.stderr),
        )
    )


def parse(argv: list[str]) -> tuple[flags.FlagValues, list[str]]:
    """The flags as they are given, and the arguments that are none.

    Raises:
        ValueError: naming the flag that is wrong, what was found and what was expected.
    """
    recipe = next((a[9:] for a in reversed(argv) if a.startswith("--config=")), RECIPE)
    if not Path(recipe.partition(":")[0]).is_file():
        raise ValueError(
            f"--config={recipe}: there is no such file; expected: a recipe, as "
            "configs/finetune.py"
        )
    try:
        values = define(argv)
        return values, command.parse(values, argv, __doc__)
    except (AttributeError, LookupError) as error:  # --config.FIELD, which is not there
        known = finetune.get_config()
        given = (re.match(r"--?(?:no)?config\.([^=]+)", text) for text in argv)
        fields = [match[1] for match in given if match]
        unknown = [f"--config.{field}" for field in fields if field not in known]
        raise ValueError(
            f"{', '.join(unknown) or '--config'}: no such field; it has "
            f"{', '.join(known)}"
        ) from error


if __name__ == "__main__":
    run(sys.argv)
