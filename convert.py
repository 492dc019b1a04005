"""Converts one checkpoint into a proven TensorFlow bundle.

    python convert.py --model=deit_tiny_patch16_224 --out=out/deit_tiny
    python convert.py --model=vit_base_patch16_224 --checkpoint=mine.pth \\
        --out=out/mine --config.model.num_classes=5
    python convert.py --checkpoint=examples/digits --out=out/digits
    python convert.py --config=configs/deit.py:deit_tiny_patch16_224 \\
        --checkpoint=random:0 --out=out/random --config.parity.dtype=float64
"""

import signal
import sys
import traceback
from pathlib import Path

from absl import app, flags
from ml_collections import config_flags
from tqdm import tqdm

from vit_tf import quiet

CONFIGS = Path(__file__).parent / "configs"
_CONFIG = config_flags.DEFINE_config_file(
    "config", None, "configs/FAMILY.py:NAME; any field: --config.model.num_classes=5"
)
_MODEL = flags.DEFINE_string(
    "model", None, "timm's name, NAME or NAME.TAG: short for --config"
)
_CHECKPOINT = flags.DEFINE_string(
    "checkpoint",
    "",
    "a .safetensors, .pth, .pt or .bin file; a timm local directory (--model may then "
    "be left out); random:SEED; or nothing: timm's pretrained weights",
)
_OUT = flags.DEFINE_string("out", None, "folder to write the bundle to")
_OVERWRITE = flags.DEFINE_bool("overwrite", False, "replace a bundle that is there")
_FORMATS = flags.DEFINE_list("formats", ["saved_model"], "saved_model, keras")
_DEBUG = flags.DEFINE_bool("debug", False, "show where an error comes from")


def with_config_flag(argv: list[str]) -> list[str]:
    """`--model=NAME`, or a local directory alone, as the `--config` it is short for.

    Raises:
        ValueError: if both `--model` and `--config` are given, or nothing says which
            model it is.
    """
    given = dict(_flag(argument) for argument in argv)
    model, checkpoint = given.get("model"), given.get("checkpoint", "")
    if "config" in given:
        if model:
            raise ValueError("--model and --config both given; expected: one of them")
        return argv
    if model:
        from vit_tf import models

        architecture = model.partition(".")[0]
        family = models.get_config(architecture).family
        return [argv[0], f"--config={CONFIGS / family}.py:{model}", *argv[1:]]
    if Path(checkpoint).is_dir() and checkpoint:
        return [argv[0], f"--config={CONFIGS / 'local_dir'}.py:{checkpoint}", *argv[1:]]
    raise ValueError(
        "neither --model=NAME nor --config=configs/FAMILY.py:NAME given; only a timm "
        "local directory as --checkpoint says itself which model it is"
    )


def main(argv: list[str]) -> None:
    if len(argv) > 1:
        raise ValueError(f"{argv[1:]} found; expected: flags only (see --help)")
    if not _OUT.value:
        raise ValueError("--out=DIR is missing: the folder to write the bundle to")
    from vit_tf.pipeline import convert

    with tqdm(leave=False, bar_format="[{elapsed}] {desc}") as bar:
        conversion = convert(
            _CONFIG.value,
            _OUT.value,
            checkpoint=_CHECKPOINT.value,
            formats=_FORMATS.value,
            overwrite=_OVERWRITE.value,
            progress=bar.set_description,
        )
    print(conversion)


def run() -> None:
    """Runs `main`; one clear message and a non-zero exit where it fails."""
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    try:
        if not {"--help", "--helpfull", "-h", "--helpshort"} & set(sys.argv):
            quiet.import_tensorflow()
            sys.argv[:] = with_config_flag(sys.argv)
        flags.FLAGS.set_default("verbosity", -1)  # warnings, not TensorFlow's notes
        app.run(main)
    except KeyboardInterrupt:
        sys.exit("\nconvert.py: interrupted; nothing was written")
    except Exception as error:  # noqa: BLE001
        if "--debug" in sys.argv:
            traceback.print_exc()
        sys.exit(f"convert.py: error: {_message(error)}")


def _flag(argument: str) -> tuple[str, str]:
    name, _, value = argument.lstrip("-").partition("=")
    return name, value


def _message(error: Exception) -> str:
    text = str(error).strip() or type(error).__name__
    known = isinstance(error, (ValueError, OSError))
    return text if known else f"{type(error).__name__}: {text}"


if __name__ == "__main__":
    run()
