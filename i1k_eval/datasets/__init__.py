"""Labelled images, wherever they are: `open_dataset`."""

import dataclasses
from collections.abc import Iterator, Sequence
from pathlib import Path

from i1k_eval.datasets.classes import Model
from i1k_eval.datasets.dataset import Dataset, DatasetError, Example
from i1k_eval.datasets.folder import open_folder
from i1k_eval.datasets.label_file import LabelFile, read_label_file
from i1k_eval.datasets.parquet import find_shards, open_parquet
from i1k_eval.datasets.tar import open_tar
from i1k_eval.datasets.tfds import open_tfds
from i1k_eval.labels import not_in_list

__all__ = ["Dataset", "DatasetError", "Example", "open_dataset"]


def open_dataset(
    source: str,
    *,
    split: str = "",
    labels: str = "",
    label_names: Sequence[str] | None = None,
    num_classes: int | None = None,
) -> Dataset:
    """A source of labelled images as a data set. No image is read yet.

    Args:
        source: a folder of class folders, or of images; a tar of either; a Parquet
            file, a pattern or a folder of such; "tfds:NAME[/CONFIG][:VERSION]" for a
            data set of tensorflow-datasets that is on disk.
        split: the one that is meant, e.g. "validation", where the source has several.
        labels: the path of a label file (`read_label_file` lists the forms), or "real"
            for ImageNet-ReaL's; empty: the source has them.
        label_names: the model's names of its classes, in order.
        num_classes: how many the model has. Without either, wnids are ImageNet-1k's and
            other classes are taken to be the model's.

    Raises:
        DatasetError: if it cannot be evaluated: there is nothing, it is broken, a
            library is missing, or its labels cannot be told for certain.
    """
    if label_names and num_classes not in (None, len(label_names)):
        raise DatasetError(f"{len(label_names)} label names, but {num_classes} classes")
    model = Model(
        num_classes or len(label_names or ()) or None, tuple(label_names or ())
    )
    try:
        written = read_label_file(labels) if labels else LabelFile()
        dataset = _open(source, split, written, model)
        notes = (*dataset.notes, *_notes(dataset, model))
    except ImportError as error:
        raise DatasetError(str(error)) from error
    if not dataset.names:
        raise DatasetError(f"{source} has no images")
    return dataclasses.replace(dataset, notes=notes)


def _open(source: str, split: str, labels: LabelFile, model: Model) -> Dataset:
    if source.startswith("tfds:"):
        return open_tfds(source, split=split, labels=labels, model=model)
    if files := find_shards(source, split):
        return open_parquet(source, files, labels=labels, model=model)
    path = Path(source)
    if path.is_dir():
        return open_folder(path, split=split, labels=labels, model=model)
    if not path.exists():
        raise DatasetError(f"there is no {source}")
    if split:
        raise DatasetError(f"{source} has no splits, and {split!r} was asked for")
    return open_tar(path, labels=labels, model=model)


def _notes(dataset: Dataset, model: Model) -> Iterator[str]:
    if dataset.classes:
        yield f"only the logits of its {len(dataset.classes)} classes count"
    missing = not_in_list(model.num_classes or 0) if dataset.imagenet else ()
    if missing:
        yield (
            f"no logit of the model's {model.num_classes} is that of the ImageNet "
            f"classes {', '.join(missing)}"
        )
