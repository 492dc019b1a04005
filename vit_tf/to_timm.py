"""Writes a model's weights as timm loads them, with timm's config.json.

    python -m vit_tf.to_timm --bundle=out/deit_tiny --out=back
    python -m vit_tf.to_timm --bundle=mine.keras --out=back/mine.safetensors

In Python, timm.create_model("local-dir:back", pretrained=True) then gives the model.
"""

import sys

from absl import flags

from vit_tf import command, quiet

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
    command.run("to_timm", main, argv)


def main(argv: list[str]) -> None:
    others = command.parse(FLAGS, argv, __doc__)
    command.check_given(FLAGS, ("bundle", "out"), others)
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


if __name__ == "__main__":
    run(sys.argv)
