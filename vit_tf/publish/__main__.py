"""Publishes a bundle, whole or not at all; what is there already is not sent again.

    python -m vit_tf.publish --bundle=out/deit_tiny --to=hf:org/name --dry_run
    python -m vit_tf.publish --bundle=out/deit_tiny --to=kaggle:owner/deit/tiny
    python -m vit_tf.publish --bundle=out/deit_tiny --to=tar:archives
    python -m vit_tf.publish --bundle=out/deit_tiny --to=dir:models/deit_tiny/1

A bundle is published that is whole (its files are those that its parity.json lists),
that was compared with timm, and whose weights' licence is known. Who publishes is what
the hubs' own clients know: HF_TOKEN or `hf auth login`; KAGGLE_API_TOKEN or ~/.kaggle.
"""

import logging
import sys

from absl import flags

from vit_tf import command, quiet

FLAGS = flags.FlagValues()  # of this command, beside those of others
flags.DEFINE_string("bundle", "", "the folder that convert.py wrote", flag_values=FLAGS)
flags.DEFINE_string(
    "to",
    "",
    "where it goes; hf:ORG/NAME, kaggle:OWNER/MODEL/VARIATION, tar:DIRECTORY (for "
    "NAME.tar.gz and NAME.md there) or dir:DIRECTORY (a copy)",
    flag_values=FLAGS,
)
flags.DEFINE_string(
    "license",
    "",
    "that of the weights, where the bundle does not say it: apache-2.0, mit ...",
    flag_values=FLAGS,
)
flags.DEFINE_bool(
    "allow_unproven",
    False,
    "publish what was not compared with timm",
    flag_values=FLAGS,
)
flags.DEFINE_bool(
    "private",
    False,
    "of a Hugging Face repository: make it a private one",
    flag_values=FLAGS,
)
flags.DEFINE_string(
    "revision",
    "",
    "of a Hugging Face repository: the branch, if not main",
    flag_values=FLAGS,
)
flags.DEFINE_bool(
    "overwrite",
    False,
    "in a folder or an archive: replace the bundle of another model, and what a person "
    "added to it; on Kaggle: send again what was sent and is not shown",
    flag_values=FLAGS,
)
flags.DEFINE_bool(
    "dry_run", False, "show what would be sent, and send nothing", flag_values=FLAGS
)
flags.DEFINE_bool(
    "verify",
    True,
    "compare with the bundle what a client downloads afterwards",
    flag_values=FLAGS,
)
flags.DEFINE_integer(
    "retries",
    5,
    "how often what fails by chance is tried again",
    lower_bound=0,
    flag_values=FLAGS,
)
flags.DEFINE_bool("debug", False, "show where an error comes from", flag_values=FLAGS)
flags.DEFINE_bool("help", False, "show this", flag_values=FLAGS)

STOPPED = "stopped; the same command goes on from here"


def run(argv: list[str]) -> None:
    """Runs the command; one clear message and a non-zero exit where it fails."""
    command.run("publish", main, argv, stopped=STOPPED)


def main(argv: list[str]) -> None:
    others = command.parse(FLAGS, argv, __doc__)
    command.check_given(FLAGS, ("bundle", "to"), others)
    quiet.import_tensorflow()
    quiet.drop_notes()
    logging.getLogger("kagglehub").setLevel(logging.WARNING)
    from vit_tf.publish.publication import publish

    published = publish(
        FLAGS.bundle,
        FLAGS.to,
        license_name=FLAGS.license,
        allow_unproven=FLAGS.allow_unproven,
        private=FLAGS.private,
        revision=FLAGS.revision,
        overwrite=FLAGS.overwrite,
        dry_run=FLAGS.dry_run,
        verify=FLAGS.verify,
        retries=FLAGS.retries,
        say=lambda text: print(f"publish: {text}", file=sys.stderr),
    )
    print(published.preview() if FLAGS.dry_run else published)


if __name__ == "__main__":
    run(sys.argv)
