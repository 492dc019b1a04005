"""Writes a model's weights as timm loads them, with timm's config.json.

    python -m vit_tf.to_timm --bundle=out/deit_tiny --out=back
    python -m vit_tf.to_timm --bundle=mine.keras --out=back/mine.safetensors

In Python, timm.create_model("local-dir:back", pretrained=True) then gives the model.
"""

import sys
import traceback

from absl import flags

from vit_tf import quiet

FLAGS = flags.FlagValues()  # of this command, beside those of others
flags.DEFINE_string("bundle", "", "a bundle, or a .keras file", flag_values=FLAGS)
flags.DEFINE_string(
    "out", "", "a folder, or a file that ends in .safetensors", flag_values=FLAGS
)
flags.DEFINE_string(
    "model", "", "timm's name, where a .keras file does not say it", flag_values=FLAGS
)
flags.DEFINE_string(
    "dtype",
    "",
    "float32, float16 or bfloat16: what weights are stored in, if not as in the source",
    flag_values=FLAGS,
)
flags.DEFINE_bool("overwrite", False, "replace files that are there", flag_values=FLAGS)
flags.DEFINE_bool("debug", False, "show where an error comes from", flag_values=FLAGS)
flags.DEFINE_bool("help", False, "show this", flag_values=FLAGS)


def run(argv: list[str]) -> None:
    """Runs the command; one clear message and a non-zero exit where it fails."""
    FLAGS.unparse_flags()
    for name in FLAGS:
        FLAGS[name].unparse()
    try:
        main(argv)
    except (Exception, KeyboardInterrupt) as error:  # noqa: BLE001 - said in one line
        if {"--debug", "--debug=true"} & set(argv):
            traceback.print_exc()
        sys.exit(f"to_timm: error: {_message(error)}")


def main(argv: list[str]) -> None:
    try:
        others = FLAGS(argv)[1:]
    except flags.Error as error:
        raise ValueError(f"{error} (see --help)") from error
    if FLAGS.help:
        print(f"{__doc__}\n{FLAGS.get_help()}")
        return
    if others:
        raise ValueError(f"{others[0]!r} found; expected: flags only, --NAME=VALUE")
    for name in ("bundle", "out"):
        if not FLAGS[name].value:
            raise ValueError(f"--{name} is missing: {FLAGS[name].help}")
    quiet.import_tensorflow()
    quiet.drop_notes()
    from vit_tf.export import timm_directory

    written = timm_directory.write(
        FLAGS.bundle,
        FLAGS.out,
        architecture=FLAGS.model,
        dtype=FLAGS.dtype,
        overwrite=FLAGS.overwrite,
    )
    print(written)


def _message(error: BaseException) -> str:
    if isinstance(error, OSError) and error.strerror:
        return f"{error.strerror}: {error.filename}" if error.filename else str(error)
    text = str(error).strip()
    if isinstance(error, (ValueError, OSError)) and text:
        return text
    return f"{type(error).__name__}: {text} (--debug shows where)"


if __name__ == "__main__":
    run(sys.argv)
