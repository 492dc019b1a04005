"""Converts many checkpoints, and goes on where it was stopped.

    python convert_all_models.py --models='deit_*,cait_*' --out=out/all
    python convert_all_models.py --models='vit_*' --tags='*.in1k' --out=out/in1k
    python convert_all_models.py --manifest=release.csv --out=out/release --keep_going
    python convert_all_models.py --manifest=release.csv --out=out/release --plan
    python convert_all_models.py --manifest=release.csv --out=out/release --engine=ray

A manifest is a .csv or .jsonl with the columns name (of the bundle: a folder in --out)
and checkpoint (as for convert.py), and where they are needed model, checkpoint_key,
dialect, and overrides: a JSON object such as {"model.num_classes": 5}.

What became of each model is in OUT/ledger.jsonl, and at the end in a table,
OUT/summary.md, .csv and .json. Stopped at any moment, the same command does what is
missing. The exit code is 0 where all models are converted.

--plan prints what would be done, with the disk and the memory that it needs, and writes
nothing; its exit code is 0 where nothing is in the way.

--engine=ray needs vit_tf[ray]. It converts in several processes, as many at once as
there is memory for, on this machine or on the cluster at --ray_address; what kills or
hangs a process ends that conversion only. --out must be one folder for all of them.
"""

import contextlib
import dataclasses
import functools
import importlib.util
import os
import sys
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from absl import flags
from tqdm import tqdm

from vit_tf import command, quiet

if TYPE_CHECKING:
    from vit_tf.batch.driver import Engine
    from vit_tf.batch.jobs import Job
    from vit_tf.batch.ledger import Entry, Ledger

FLAGS = flags.FlagValues()  # of this command, beside those of others
flags.DEFINE_list("models", [], "patterns of timm's names", flag_values=FLAGS)
flags.DEFINE_list(
    "tags",
    [],
    "patterns of timm's pretrained tags, for a bundle of each that fits; without it, "
    "each model's default tag is meant",
    flag_values=FLAGS,
)
flags.DEFINE_string(
    "checkpoint",
    "",
    "what is converted in place of timm's pretrained weights: random:SEED",
    flag_values=FLAGS,
)
flags.DEFINE_string("manifest", "", "a file that lists conversions", flag_values=FLAGS)
flags.DEFINE_string("out", "", "folder for the bundles", flag_values=FLAGS)
flags.DEFINE_list(
    "formats", ["saved_model"], "of each, as for convert.py", flag_values=FLAGS
)
flags.DEFINE_string(
    "representative",
    "",
    "folder of real images, for litert_int8",
    flag_values=FLAGS,
)
flags.DEFINE_integer(
    "retries",
    2,
    "how often a download that fails is tried again",
    lower_bound=0,
    flag_values=FLAGS,
)
flags.DEFINE_float(
    "timeout",
    0,
    "seconds that one model may take; 0 for any number",
    lower_bound=0,
    flag_values=FLAGS,
)
flags.DEFINE_enum(
    "engine", "serial", ["serial", "ray"], "what converts", flag_values=FLAGS
)
flags.DEFINE_integer(
    "workers",
    0,
    "how many models --engine=ray converts at once; 0 for one per core",
    lower_bound=0,
    flag_values=FLAGS,
)
flags.DEFINE_string(
    "ray_address",
    "",
    "a Ray cluster's address; without it, one is started on this machine",
    flag_values=FLAGS,
)
flags.DEFINE_float(
    "memory",
    0,
    "GB that --engine=ray may take on this machine; 0 for what Ray finds free",
    lower_bound=0,
    flag_values=FLAGS,
)
flags.DEFINE_bool(
    "plan", False, "print what would be done, and do nothing", flag_values=FLAGS
)
flags.DEFINE_bool("keep_going", False, "go on after a failure", flag_values=FLAGS)
flags.DEFINE_bool("debug", False, "show where an error comes from", flag_values=FLAGS)
flags.DEFINE_bool("help", False, "show this", flag_values=FLAGS)

STOPPED = "stopped; the same command goes on from here"


def run(argv: list[str]) -> None:
    """Runs the command; one clear message and a non-zero exit where it fails."""
    command.run("convert_all_models.py", main, argv, stopped=STOPPED)


def main(argv: list[str]) -> None:
    others = command.parse(FLAGS, argv, __doc__)
    command.check_given(FLAGS, ("out",), others)
    if bool(FLAGS.models) == bool(FLAGS.manifest):
        raise ValueError("expected: --models=PATTERNS or --manifest=FILE, one of them")
    if FLAGS.manifest and (FLAGS.tags or FLAGS.checkpoint):
        raise ValueError("--tags and --checkpoint go with --models: a manifest has its")
    if FLAGS.tags and FLAGS.checkpoint:
        raise ValueError("--tags found; expected: no --checkpoint with it")
    _check_engine()
    quiet.import_tensorflow()
    quiet.drop_notes()
    jobs, directory = _jobs(), Path(FLAGS.out)
    if FLAGS.plan:
        _print_plan(jobs, directory)
        return
    entries = _converted(jobs, directory)
    counts = Counter(entry.state for entry in entries)
    print(
        f"{counts['done']:,} of {len(jobs):,} converted, {counts['failed']:,} failed; "
        f"{directory / 'summary.md'}"
    )
    if counts["done"] < len(jobs):
        sys.exit(1)


def _jobs() -> "list[Job]":
    from vit_tf.batch.jobs import REPRESENTATIVE

    asked = _asked_for()
    if not FLAGS.representative:
        return asked
    images = {REPRESENTATIVE: FLAGS.representative}
    return [
        dataclasses.replace(
            job, overrides=tuple(sorted((images | dict(job.overrides)).items()))
        )
        for job in asked
    ]


def _asked_for() -> "list[Job]":
    from vit_tf import models, pipeline
    from vit_tf.batch import jobs
    from vit_tf.export.formats import FORMATS, check_formats

    if unknown := set(FLAGS.formats) - set(pipeline.FORMATS):
        raise ValueError(
            f"--formats: {', '.join(sorted(unknown))} found; expected: "
            f"{', '.join(pipeline.FORMATS)}"
        )
    told = FLAGS.representative or FLAGS.manifest  # whose rows may say it
    check_formats([n for n in FLAGS.formats if n in FORMATS], "float32", told)
    if FLAGS.manifest:
        return jobs.of_manifest(Path(FLAGS.manifest), FLAGS.formats)
    names = models.list_models()
    options = dict(checkpoint=FLAGS.checkpoint, formats=FLAGS.formats)
    found = jobs.of_models(FLAGS.models, names, **options)
    if not FLAGS.tags:
        return found
    from vit_tf import reference

    tagged = [tag for job in found for tag in reference.tags(job.name)]
    return jobs.of_models(FLAGS.tags, tagged, **options)


def _check_engine() -> None:
    """
    Raises:
        ValueError: if flags do not go together, or what an engine needs is not there.
    """
    of_ray = ("workers", "ray_address", "memory")
    given = [f"--{name}" for name in of_ray if FLAGS[name].value]
    if FLAGS.engine != "ray" and given:
        raise ValueError(f"{', '.join(given)} found; expected: --engine=ray with it")
    if FLAGS.ray_address and FLAGS.memory:
        raise ValueError(
            "--memory found; expected: none, the cluster at --ray_address "
            "says what it has"
        )
    if FLAGS.engine == "ray" and importlib.util.find_spec("ray") is None:
        raise ValueError("--engine=ray needs Ray: pip install 'vit_tf[ray]'")


def _print_plan(jobs: "Sequence[Job]", directory: Path) -> None:
    from vit_tf.batch import ledger, plan

    known = ledger.read(directory / "ledger.jsonl")
    workers = 1
    if FLAGS.engine == "ray":
        workers = FLAGS.workers or os.cpu_count() or 1
    found = plan.plan(jobs, directory, known.get, workers)
    print(found)
    if found.problems:
        raise ValueError("; ".join(found.problems))


def _converted(jobs: "Sequence[Job]", directory: Path) -> "list[Entry]":
    """The last entry of each job."""
    from vit_tf.batch import driver, ledger

    with ledger.opened(directory / "ledger.jsonl") as book:
        missing = driver.missing(jobs, directory, book)
        there = len(jobs) - len(missing)
        try:
            with tqdm(total=len(jobs), initial=there, unit="model") as bar:

                def show(entry: "Entry") -> None:
                    bar.update()
                    if entry.state == ledger.FAILED:
                        error = entry.facts["error"]
                        bar.write(f"{entry.name}: {error}", file=sys.stderr)

                driver.run(
                    missing,
                    directory,
                    book,
                    _engine(directory),
                    keep_going=FLAGS.keep_going,
                    each=show,
                )
        except BaseException:
            with contextlib.suppress(OSError):  # what ended the batch is what is said
                _summarise(_known(jobs, book), directory)
            raise
        entries = _known(jobs, book)
    _summarise(entries, directory)
    return entries


def _engine(directory: Path) -> "Engine":
    options = dict(retries=FLAGS.retries, timeout=FLAGS.timeout)
    if FLAGS.engine == "serial":
        from vit_tf.batch import serial, work

        convert = functools.partial(work.convert, directory=directory)
        return functools.partial(serial.run, work=convert, **options)
    from vit_tf.batch import estimate, places, ray_engine, worker

    directory, start = directory.absolute(), Path.cwd()  # workers are elsewhere
    return functools.partial(
        ray_engine.run,
        work=functools.partial(worker.convert, directory=directory, start=start),
        around=functools.partial(worker.at_work, directory),
        memory=estimate.memory,
        recover=functools.partial(places.recover, directory=directory),
        workers=FLAGS.workers,
        address=FLAGS.ray_address,
        total_memory=round(FLAGS.memory * 1e9),
        **options,
    )


def _known(jobs: "Sequence[Job]", book: "Ledger") -> "list[Entry]":
    from vit_tf.batch.ledger import NOT_STARTED, Entry

    return [
        book.last(job.name) or Entry(job.name, job.key, NOT_STARTED) for job in jobs
    ]


def _summarise(entries: "Sequence[Entry]", directory: Path) -> None:
    from vit_tf.batch import summary
    from vit_tf.export import whole_file

    written = {
        "md": summary.markdown(entries),
        "csv": summary.as_csv(entries),
        "json": summary.as_json(entries),
    }
    for suffix, text in written.items():
        whole_file.write_text(directory / f"summary.{suffix}", text)


if __name__ == "__main__":
    run(sys.argv)
