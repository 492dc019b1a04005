"""A bundle's answers to a data set's images, and the original's beside them."""

import contextlib
import glob
import hashlib
import json
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

import tensorflow as tf

from i1k_eval import results
from i1k_eval.datasets.dataset import Dataset
from i1k_eval.difference import EXAMINED, Comparison, Side
from i1k_eval.errors import EvaluationError
from i1k_eval.labels import class_names, label_map
from i1k_eval.pixels import Batch, pixel_batches
from i1k_eval.ported import Ported
from i1k_eval.predictions import Prediction, predictions_file
from i1k_eval.scores import Scores
from vit_tf.export.bundle import sha256
from vit_tf.export.whole_file import write_text
from vit_tf.preprocessing import create_transform

if TYPE_CHECKING:  # it needs torch
    from i1k_eval.reference import Original

PREDICTIONS = "predictions.jsonl"
RESULTS = "results.json"
Times = dict[str, list[tuple[int, float]]]  # side -> images and seconds of each batch


def evaluate(
    ported: Ported,
    dataset: Dataset,
    folder: str | Path,
    *,
    reference: bool = False,
    checkpoint: str = "",
    limit: int = 0,
    batch_size: int = 32,
    threads: int = 1,
    overwrite: bool = False,
    opened_with: Mapping[str, str] | None = None,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> dict[str, Any]:
    """Runs a bundle on a data set; each image's answers go to `predictions.jsonl`.

    Where `folder` holds a part of the same run, it is gone on with.

    Args:
        ported: The bundle.
        dataset: The images and their labels.
        folder: Where to write `predictions.jsonl` and `results.json`.
        reference: Whether the original runs beside it.
        checkpoint: The original's weights; "" for those in the bundle, bit for bit.
        limit: How many images, the first ones; 0 for all.
        batch_size: How many images a model sees at once.
        threads: How many images are transformed at once.
        overwrite: Whether to begin anew whatever is there.
        opened_with: What else the data set was opened with.
        progress: Called with the number of images done, and of all.

    Returns:
        What `results.json` holds: see `i1k_eval.results`.

    Raises:
        EvaluationError: if the bundle and the data set do not go together, or `folder`
            holds another run.
    """
    folder = Path(folder)
    names = dataset.names[: limit or None]
    run = _run(
        ported,
        dataset,
        names,
        reference=reference,
        checkpoint=checkpoint,
        batch_size=batch_size,
        opened_with=opened_with or {},
    )
    columns = label_map(ported.num_classes) if dataset.imagenet else None
    scores = Scores(columns, dataset.classes)
    times: Times = {"ported": [], "original": []}
    with predictions_file(
        folder / PREDICTIONS, run, names, batch_size=batch_size, overwrite=overwrite
    ) as (done, append):
        rates = results.rates(folder / RESULTS, run) if done else {}
        if not done:  # of another run
            (folder / RESULTS).unlink(missing_ok=True)
        comparison = None
        if reference:
            options = dict(checkpoint=checkpoint, threads=threads)
            comparison = _comparison(ported, scores, done, **options)
        progress(len(done), len(names))
        batches = pixel_batches(
            dataset.examples(len(done), len(names)),
            create_transform(ported.data),
            (*ported.data.size, ported.data.input_size[0]),
            batch_size=batch_size,
            threads=threads,
            ahead=0 if reference else 1,  # so that each side's time is its own
        )
        with contextlib.closing(batches):
            for found in _predictions(batches, ported, comparison, scores, times):
                append(found)
                done += found
                progress(len(done), len(names))
        rates |= {side: rate for side in times if (rate := _rate(times[side]))}
        summary = results.summary(
            run,
            ported,
            done,
            rates,
            label_names=_label_names(ported, dataset),
            notes=(*dataset.notes, *_left_out(dataset, names)),
            original_data=comparison and comparison.original.data,
        )
        write_text(folder / RESULTS, json.dumps(summary, indent=1) + "\n")
    return summary


def _predictions(
    batches: Iterator[Batch],
    ported: Ported,
    comparison: Comparison | None,
    scores: Scores,
    times: Times,
) -> Iterator[list[Prediction]]:
    """A list of predictions for each batch."""
    while True:
        started = time.perf_counter()
        batch = next(batches, None)
        if batch is None:
            return
        _check_labels(batch, ported, scores)
        side = Side(batch.pixels, batch.errors, ported.logits(batch.pixels))
        times["ported"].append((len(batch.errors), time.perf_counter() - started))
        columns: list[Sequence[Any]] = [scores.answers(side.logits, side.errors)]
        if comparison:
            original = _original_side(batch, comparison.original, times)
            columns.append(scores.answers(original.logits, original.errors))
            columns.append(comparison.differences(side, original))
        yield [
            Prediction(example.name, tuple(sorted(example.labels)), *found)
            for example, *found in zip(batch.examples, *columns, strict=True)
        ]


def _original_side(batch: Batch, original: "Original", times: Times) -> Side:
    started = time.perf_counter()
    pixels, errors = original.pixels(batch.examples)
    side = Side(pixels, errors, original.logits(pixels))
    times["original"].append((len(errors), time.perf_counter() - started))
    return side


def _comparison(
    ported: Ported,
    scores: Scores,
    done: Sequence[Prediction],
    *,
    checkpoint: str,
    threads: int,
) -> Comparison:
    """With as many images' layers left to compare as an unbroken run has now."""
    from i1k_eval.reference import Original

    original = Original(
        ported.path,
        ported.described,
        ported.data,
        checkpoint=checkpoint,
        threads=threads,
    )
    in_model = sum(bool(p.difference and p.difference.starts == "model") for p in done)
    left = max(EXAMINED - in_model, 0)
    return Comparison(original, ported.data, ported.dtype, scores, left)


def _check_labels(batch: Batch, ported: Ported, scores: Scores) -> None:
    classes = scores.num_classes(ported.num_classes)
    for example in batch.examples:
        if example.labels and max(example.labels) >= classes:
            raise EvaluationError(
                f"{example.name}: label {max(example.labels)} found; expected: one of "
                f"the {classes} classes of {ported.path}, 0 to {classes - 1}"
            )


def _run(
    ported: Ported,
    dataset: Dataset,
    names: Sequence[str],
    *,
    reference: bool,
    checkpoint: str,
    batch_size: int,
    opened_with: Mapping[str, str],
) -> dict[str, Any]:
    """What the predictions depend on; the images' own bytes are not looked at."""
    libraries = {"tensorflow": tf.__version__, "vit_tf": version("vit_tf")}
    if reference:
        from i1k_eval.reference import versions

        libraries |= versions()
    return {
        "bundle": ported.sha256,
        "data": dataset.name,
        "source": _state(dataset.name),
        **{name: _identity(value) for name, value in opened_with.items()},
        "images": len(names),
        "names": hashlib.sha256(
            "\n".join(names).encode(errors="surrogateescape")
        ).hexdigest(),
        "reference": reference,
        "checkpoint": _identity(checkpoint),
        "batch_size": batch_size,
        "versions": libraries,
    }


def _left_out(dataset: Dataset, names: Sequence[str]) -> Iterator[str]:
    if len(names) < len(dataset.names):
        yield f"the first {len(names):,} of {len(dataset.names):,} images"


def _state(source: str) -> list[list[str | int]]:
    """Name, size and time of the files that images and labels are in together.

    A folder of images has none: there the images' names tell their classes.
    """
    path = Path(source)
    files = sorted(path.glob("**/*.parquet")) if path.is_dir() else [path]
    if not path.exists() and not source.startswith("tfds:"):
        files = [Path(name) for name in sorted(glob.glob(source))]
    stats = [(str(file), file.stat()) for file in files if file.exists()]
    return [[name, stat.st_size, stat.st_mtime_ns] for name, stat in stats]


def _label_names(ported: Ported, dataset: Dataset) -> Mapping[int, str]:
    if dataset.imagenet:
        return dict(enumerate(class_names()))
    return dict(enumerate(ported.label_names or ())) or dataset.class_names


def _identity(value: str) -> str:
    """What an option says; of a file, what is in it, too."""
    path = Path(value)
    return f"{value} sha256:{sha256(path)}" if value and path.is_file() else value


def _rate(times: Sequence[tuple[int, float]]) -> float | None:
    """Images per second, without the first batch, which also prepares what follows."""
    counted = times[1:] or times
    seconds = sum(seconds for _, seconds in counted)
    return sum(images for images, _ in counted) / seconds if counted else None
