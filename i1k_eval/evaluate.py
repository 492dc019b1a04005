"""Evaluates bundles on a data set, and the original beside them.

    python -m i1k_eval.evaluate --bundle=out/deit_tiny --data=imagenet/val
    python -m i1k_eval.evaluate --bundle=out/deit_tiny --data=imagenet/val --reference
    python -m i1k_eval.evaluate --bundle=out/a --bundle=out/b --data=tfds:imagenet_v2 \\
        --limit=1000 --out=out/v2

Prints top-1 and top-5, images per second, what is confused most, and with --reference
how far the original is apart and where that starts. Every image's answers are in
OUT/NAME/predictions.jsonl, all that is printed in OUT/NAME/results.json, where NAME is
the bundle's folder; `python -m i1k_eval.table OUT` makes a table of them. With
--record=imagenet-1k the accuracies are in the bundle's card, too. Stopped at any
moment, the same command goes on where it was.
"""

import os
import sys
from collections.abc import Sequence
from pathlib import Path

from absl import flags
from tqdm import tqdm

from i1k_eval.errors import EvaluationError
from vit_tf import command, quiet

FLAGS = flags.FlagValues()  # of this command, beside those of others
flags.DEFINE_multi_string(
    "bundle", [], "what convert.py wrote; may be given several times", flag_values=FLAGS
)
flags.DEFINE_string(
    "data",
    "",
    "the images: a folder of class folders or of files, a tar of one, tfds:NAME, or a "
    "parquet file",
    flag_values=FLAGS,
)
flags.DEFINE_string("split", "", "which part of the data set", flag_values=FLAGS)
flags.DEFINE_string(
    "labels", "", "a file of labels, or the name of a set of them", flag_values=FLAGS
)
flags.DEFINE_bool(
    "reference", False, "run the original beside it, in torch", flag_values=FLAGS
)
flags.DEFINE_string(
    "checkpoint",
    "",
    "the original's weights and preprocessing, as for convert.py, if not those that "
    "are in the bundle",
    flag_values=FLAGS,
)
flags.DEFINE_integer(
    "limit", 0, "how many images, the first ones; 0 for all", flag_values=FLAGS
)
flags.DEFINE_integer(
    "batch_size", 32, "how many images at once", lower_bound=1, flag_values=FLAGS
)
flags.DEFINE_integer(
    "threads", 0, "how many; 0 for as many as cores", flag_values=FLAGS
)
flags.DEFINE_string("out", "out/i1k_eval", "folder for the results", flag_values=FLAGS)
flags.DEFINE_string(
    "record",
    "",
    "keep the accuracies in the bundle and its card, under this name of the data set",
    flag_values=FLAGS,
)
flags.DEFINE_bool(
    "overwrite", False, "begin anew, whatever is there", flag_values=FLAGS
)
flags.DEFINE_bool("debug", False, "show where an error comes from", flag_values=FLAGS)
flags.DEFINE_bool("help", False, "show this", flag_values=FLAGS)


def run(argv: list[str]) -> None:
    """Runs the command; one clear message and a non-zero exit where it fails."""
    stopped = "stopped; the same command goes on from here"
    command.run("i1k_eval", main, argv, stopped=stopped)


def main(argv: list[str]) -> None:
    others = command.parse(FLAGS, argv, __doc__)
    _check(others)
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")  # an image's error is reported
    quiet.import_tensorflow()
    quiet.drop_notes()
    threads = _use_threads(FLAGS.threads, FLAGS.reference)
    found = [_evaluate(bundle, threads) for bundle in FLAGS.bundle]
    if len(found) > 1:
        from i1k_eval.table import markdown

        print(f"\n{markdown(found)}")


def _check(others: Sequence[str]) -> None:
    """
    Raises:
        ValueError: saying which flag is wrong, or missing.
    """
    command.check_given(FLAGS, ("bundle", "data", "out"), others)
    for name in ("limit", "threads"):
        if FLAGS[name].value < 0:
            raise ValueError(f"--{name}={FLAGS[name].value} found; expected: 0 or more")
    if FLAGS.checkpoint and not FLAGS.reference:
        raise ValueError("--checkpoint found; expected: --reference with it")
    if FLAGS.record and FLAGS.limit:
        raise ValueError("--record found; expected: no --limit with it")
    names = [Path(bundle).resolve().name for bundle in FLAGS.bundle]
    if repeated := sorted({name for name in names if names.count(name) > 1}):
        raise ValueError(
            f"several bundles named {', '.join(repeated)} found; expected: names that "
            "differ, as each has its folder in --out"
        )


def _evaluate(path: str, threads: int) -> dict:
    from i1k_eval.datasets import open_dataset
    from i1k_eval.evaluation import evaluate
    from i1k_eval.ported import Ported
    from i1k_eval.report import report
    from vit_tf.export import accuracy, card

    ported = Ported(path)
    opened_with = dict(split=FLAGS.split, labels=FLAGS.labels)
    dataset = open_dataset(
        FLAGS.data,
        **opened_with,
        label_names=ported.label_names,
        num_classes=ported.num_classes,
    )
    folder = Path(FLAGS.out) / ported.name
    with tqdm(desc=ported.name, unit=" images", leave=False) as bar:

        def progress(done: int, total: int) -> None:
            if bar.total is None:
                bar.total, bar.initial = total, done
            bar.update(done - bar.n)

        results = evaluate(
            ported,
            dataset,
            folder,
            reference=FLAGS.reference,
            checkpoint=FLAGS.checkpoint,
            limit=FLAGS.limit,
            batch_size=FLAGS.batch_size,
            threads=threads,
            overwrite=FLAGS.overwrite,
            opened_with=opened_with,
            progress=progress,
        )
    if FLAGS.record:
        accuracy.write(path, results, dataset=FLAGS.record, split=FLAGS.split)
        card.write(path)
    print(f"{report(results)}\n{'written':<15} {folder}", flush=True)
    return results


def _use_threads(number: int, reference: bool) -> int:
    """Lets both libraries compute with as many threads; returns how many."""
    import tensorflow as tf

    if number:
        tf.config.threading.set_intra_op_parallelism_threads(number)
        tf.config.threading.set_inter_op_parallelism_threads(number)
    number = number or len(os.sched_getaffinity(0))
    if reference:
        try:
            from i1k_eval.reference import use_threads
        except ModuleNotFoundError as error:
            raise EvaluationError(
                f"--reference needs {error.name}: pip install 'vit_tf[convert,eval]'"
            ) from error
        use_threads(number)
    return number


if __name__ == "__main__":
    run(sys.argv)
