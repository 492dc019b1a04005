"""Converts one checkpoint into a proven TensorFlow bundle.

    python convert.py --model=deit_tiny_patch16_224 --out=out/deit_tiny
    python convert.py --model=vit_base_patch16_224 --checkpoint=mine.pth \\
        --out=out/mine --config.model.num_classes=5
    python convert.py --checkpoint=examples/digits --out=out/digits
    python convert.py --config=configs/deit.py:deit_tiny_patch16_224 \\
        --checkpoint=random:0 --out=out/random --config.parity.dtype=float64
"""

import re
import signal
import sys
import traceback
from pathlib import Path
from types import FrameType

from absl import app, flags
from ml_collections import ConfigDict, config_flags
from tqdm import tqdm

from vit_tf import command, quiet

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
    "a .safetensors, .pth, .pth.tar, .pt, .bin, .ckpt, .npz, .keras or .weights.h5; "
    "a folder of timm or transformers; hf-hub:ORG/NAME, https://... or gs://...; "
    "random:SEED; or nothing: timm's pretrained weights. --model may be left out where "
    "it tells which model",
)
_CHECKPOINT_KEY = flags.DEFINE_string(
    "checkpoint_key", "", "which of several models in a file, e.g. model_ema, teacher"
)
_DIALECT = flags.DEFINE_string(
    "dialect", "", "whose names the tensors have, where they do not tell themselves"
)
_OUT = flags.DEFINE_string("out", None, "folder to write the bundle to")
_OVERWRITE = flags.DEFINE_bool("overwrite", False, "replace a bundle that is there")
_FORMATS = flags.DEFINE_list(
    "formats",
    ["saved_model"],
    "what to write beside the SavedModel: keras, weights_h5, timm (safetensors), "
    "litert_float32, litert_float16, litert_dynamic_int8, litert_int8, tfjs, onnx",
)
_REPRESENTATIVE = flags.DEFINE_string(
    "representative",
    "",
    "a folder of real images, which litert_int8 needs: short for "
    "--config.export.representative",
)
_DEBUG = flags.DEFINE_bool("debug", False, "show where an error comes from")
_RECEIVED: list[signal.Signals] = []  # requests to stop: Ctrl-C, or `kill`


def with_config_flag(argv: list[str]) -> list[str]:
    """`--model` and `--checkpoint` as the `--config` that they are short for.

    Raises:
        ValueError: if both `--model` and `--config` are given, nothing says which
            model it is, or what says so cannot be read.
    """
    model, config, checkpoint, checkpoint_key, dialect = (
        _given(argv, name)
        for name in ("model", "config", "checkpoint", "checkpoint_key", "dialect")
    )
    if config:
        if model:
            raise ValueError(
                f"--model={model} and --config={config} found; expected: one of them"
            )
        path = Path(config.partition(":")[0])
        if path.suffix != ".py" or not path.is_file():
            raise ValueError(
                f"--config={config}: {path} is no configuration file; expected: "
                "configs/FAMILY.py:NAME"
            )
        return argv
    if "--checkpoint=" in argv:  # a variable of the shell that is not set
        raise ValueError("--checkpoint= is empty; leave it out for timm's own weights")
    from vit_tf.find_config import find_config

    family, variant = find_config(
        model, checkpoint, checkpoint_key=checkpoint_key, dialect=dialect
    )
    return [argv[0], f"--config={CONFIGS / family}.py:{variant}", *argv[1:]]


def parse(argv: list[str]) -> list[str]:
    """Sets the flags; what is wrong with one is said in a line.

    Returns:
        The arguments that are no flags, the script's name first.

    Raises:
        ValueError: naming the flag, its value, and what was expected.
    """
    try:
        return flags.FLAGS(argv)
    except flags.IllegalFlagValueError as error:
        name, value = re.match(r"flag --([^=]*)=(.*?): ", str(error), re.S).groups()
        if name == "config":  # its file was run, and raised what came first
            raise ValueError(_bad_config(value, _said_first(error))) from error
        kind = flags.FLAGS[name].flag_type()
        raise ValueError(f"--{name}: {value!r} found; expected: {kind}") from error
    except flags.Error as error:
        raise ValueError(f"{error} (see --help)") from error
    except (AttributeError, LookupError) as error:  # --config.FIELD, which is not there
        raise ValueError(_unknown_field(argv)) from error


def main(argv: list[str]) -> None:
    quiet.drop_notes()
    if argv[1:]:
        raise ValueError(f"{argv[1]!r} found; expected: flags only, --NAME=VALUE")
    if not _OUT.value:
        raise ValueError("--out=DIR is missing: the folder to write the bundle to")
    from vit_tf.pipeline import convert

    if _REPRESENTATIVE.value:
        _CONFIG.value.export.representative = _REPRESENTATIVE.value

    with tqdm(leave=False, bar_format="[{elapsed}] {desc}") as bar:

        def progress(step: str) -> None:
            _stop_if_asked()
            bar.set_description(step)

        conversion = convert(
            _CONFIG.value,
            _OUT.value,
            checkpoint=_CHECKPOINT.value,
            checkpoint_key=_CHECKPOINT_KEY.value,
            dialect=_DIALECT.value,
            formats=_FORMATS.value,
            overwrite=_OVERWRITE.value,
            progress=progress,
        )
    print(conversion)


def run() -> None:
    """Runs `main`; one clear message and a non-zero exit where it fails."""
    _RECEIVED.clear()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, _stop)
    sys.unraisablehook = _unraisable
    try:
        if not {"--help", "--helpfull", "-h", "--helpshort"} & set(sys.argv):
            quiet.import_tensorflow()
            sys.argv[:] = with_config_flag(sys.argv)
        app.run(main, flags_parser=parse)
    except (Exception, KeyboardInterrupt) as error:  # noqa: BLE001 - said in one line
        if {"--debug", "--debug=true"} & set(sys.argv):
            traceback.print_exc()
        if not _RECEIVED:
            sys.exit(f"convert.py: error: {command.message(error)}")
        stopped = f"stopped by {_RECEIVED[0].name}; nothing was written"
        print(f"\nconvert.py: {stopped}", file=sys.stderr)
        sys.exit(128 + _RECEIVED[0])


def _stop(number: int, frame: FrameType | None) -> None:
    _RECEIVED.append(signal.Signals(number))
    raise KeyboardInterrupt


def _unraisable(unraisable: "sys.UnraisableHookArgs") -> None:
    """A request to stop that meets a finalizer is lost there: `_stop_if_asked`."""
    if not (_RECEIVED and unraisable.exc_type is KeyboardInterrupt):
        sys.__unraisablehook__(unraisable)


def _stop_if_asked() -> None:
    """Compiled code may lose a KeyboardInterrupt, or make another error of it."""
    if _RECEIVED:
        raise KeyboardInterrupt


def _given(argv: list[str], name: str) -> str:
    """The last value of a flag, --NAME=VALUE or --NAME VALUE; "" if there is none."""
    given = ""
    for argument, following in zip(argv, [*argv[1:], ""], strict=True):
        flag, equals, value = argument.partition("=")
        if flag in (f"--{name}", f"-{name}"):
            given = value if equals else following
    return given


def _unknown_field(argv: list[str]) -> str:
    """Which `--config.FIELD` there is not, and what there is in its place."""
    config = flags.FLAGS["config"].parser.parse(_given(argv, "config"))
    paths = (re.match(r"--?(?:no)?config\.([^=]+)", argument) for argument in argv)
    for path in (match[1] for match in paths if match):
        at, place = config, "config"
        for field in path.split("."):
            known = ", ".join(at) if isinstance(at, ConfigDict) else "no fields"
            if known == "no fields" or field not in at:
                return f"--config.{path}: {place} has no {field!r}; it has {known}"
            at, place = at[field], f"{place}.{field}"
    raise AssertionError(f"every field of {argv} is there")


def _bad_config(value: str, error: BaseException) -> str:
    if value.startswith(f"{CONFIGS / 'checkpoint'}.py:"):  # nobody's words but ours
        return str(error)
    expected = "" if isinstance(error, ValueError) else "; expected: FILE.py:NAME"
    return f"--config={value}: {error}{expected}"


def _said_first(error: BaseException) -> BaseException:
    """What was raised first, of the toolkit's own errors if there is one."""
    chain = [error]
    while error := error.__context__:
        chain.insert(0, error)
    ours = (e for e in chain if type(e).__module__.startswith("vit_tf."))
    return next(ours, chain[0])


if __name__ == "__main__":
    run()
