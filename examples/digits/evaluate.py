"""Top-1 of the original and of its bundle on the held-out digits, side by side."""

from pathlib import Path

from absl import app, flags

from vit_tf import quiet

_BUNDLE = flags.DEFINE_string("bundle", "out/digits", "what convert.py wrote")


def main(argv: list[str]) -> None:
    quiet.drop_notes()
    from digits import compare_top1

    print(compare_top1(Path(__file__).parent, _BUNDLE.value))


if __name__ == "__main__":
    quiet.import_tensorflow()
    app.run(main)
