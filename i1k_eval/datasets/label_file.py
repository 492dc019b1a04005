"""What a file of labels says: of images by name, of images by number, or of classes."""

import csv
import dataclasses
import json
import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from i1k_eval.datasets.classes import is_index, is_wnid
from i1k_eval.datasets.dataset import DatasetError, listed
from i1k_eval.datasets.meta_mat import read_ilsvrc_ids
from i1k_eval.labels import real_labels

_HEADERS = ("name", "file", "filename", "file_name", "path", "image", "imageid", "id")


@dataclasses.dataclass(frozen=True)
class LabelFile:
    """Labels as they are written: a wnid, a class's index or its name.

    At most one of the fields has anything.

    Attributes:
        by_name: an image's labels, by the name that the file has for it.
        by_number: an image's labels, by the number in its name, as in
            "ILSVRC2012_val_00000001.JPEG".
        classes: the model's classes in order.
    """

    by_name: Mapping[str, tuple[str, ...]] = dataclasses.field(default_factory=dict)
    by_number: Mapping[int, tuple[str, ...]] = dataclasses.field(default_factory=dict)
    classes: tuple[str, ...] = ()


def read_label_file(path: str) -> LabelFile:
    """Reads labels, in the form that the file has.

    "real" are ImageNet-ReaL's. A file is told by what is in it:

    * JSON: lists of indices, as ReaL's `real.json`; or names of images with their
      label, or list of labels.
    * CSV and TSV: a name and a label a line; Kaggle's `LOC_val_solution.csv`.
    * text: "name label" a line, as Caffe's `val.txt`; wnids of the validation images by
      their number; the ids of the devkit's `ILSVRC2012_validation_ground_truth.txt`,
      with its `meta.mat` in the same folder; or the model's classes, one a line.

    Raises:
        DatasetError: if it is none of these, or could be two.
    """
    if path == "real":
        return _numbered([map(str, indices) for indices in real_labels()])
    file = Path(path)
    try:
        text = file.read_text("utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise DatasetError(f"labels cannot be read from {path}: {error}") from error
    if not text.strip():
        raise DatasetError(f"{path} has no labels")
    try:
        found = _of_text(text, file)
    except DatasetError as error:
        raise DatasetError(f"{path}: {error}") from error
    labels = (*found.by_name.values(), *found.by_number.values(), found.classes)
    if not any(labels):
        raise DatasetError(f"{path} has no labels")
    return found


def _of_text(text: str, file: Path) -> LabelFile:
    kind = file.suffix.lower()
    if kind == ".json":
        return _of_json(text)
    if kind in (".csv", ".tsv"):
        return _of_table(text, "," if kind == ".csv" else "\t")
    return _of_lines(text, file.parent)


def _of_json(text: str) -> LabelFile:
    try:
        content = json.loads(text, object_pairs_hook=_once)
    except DatasetError:
        raise
    except (ValueError, RecursionError) as error:
        raise DatasetError(f"no JSON: {error}") from error
    if isinstance(content, dict):
        return _named((name, _labels(label)) for name, label in content.items())
    if isinstance(content, list) and all(isinstance(row, list) for row in content):
        return _numbered([_labels(row) for row in content])
    raise DatasetError(
        "expected a list of lists of class indices, as ReaL's real.json, or names of "
        "images with their labels"
    )


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """A JSON object whose names are told apart: Python keeps the last of each."""
    _named((name, _labels(label)) for name, label in pairs)
    return dict(pairs)


def _labels(label: object) -> tuple[str, ...]:
    found = label if isinstance(label, list) else [label]
    wrong = [x for x in found if isinstance(x, bool) or not isinstance(x, int | str)]
    if wrong:
        raise DatasetError(f"expected an index or a name for a label: {listed(wrong)}")
    return tuple(map(str, found))


def _of_table(text: str, delimiter: str) -> LabelFile:
    try:
        rows = [
            row for row in csv.reader(text.splitlines(), delimiter=delimiter) if row
        ]
    except csv.Error as error:
        raise DatasetError(str(error)) from error
    if rows[0][0].strip().lower() in _HEADERS:
        del rows[0]
    wrong = [delimiter.join(row) for row in rows if len(row) != 2]
    if wrong:
        raise DatasetError(f"expected a name and a label a line: {listed(wrong)}")
    return _named((name.strip(), _cell(label.strip())) for name, label in rows)


def _cell(label: str) -> tuple[str, ...]:
    """A label, or Kaggle's: a wnid and a box of four numbers for each object."""
    found = tuple(dict.fromkeys(word for word in label.split() if is_wnid(word)))
    return found or (label,)


def _of_lines(text: str, folder: Path) -> LabelFile:
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    if all(map(is_index, lines)):
        return _of_ilsvrc_ids([int(line) for line in lines], folder)
    if all(map(is_wnid, lines)) and len(set(lines)) < len(lines):
        return _numbered([(line,) for line in lines])
    lines = [line.replace("\t", " ") for line in lines]
    labelled = [_is_label(line.rpartition(" ")[2]) and " " in line for line in lines]
    if all(labelled):
        pairs = (line.rpartition(" ") for line in lines)
        return _named((name.strip(), (label,)) for name, _, label in pairs)
    if any(labelled):
        wrong = [line for line, has in zip(lines, labelled, strict=True) if not has]
        raise DatasetError(
            f"some lines end in an index or a wnid, and some do not: {listed(wrong)}"
        )
    return _of_classes(lines)


def _is_label(word: str) -> bool:
    return is_index(word) or is_wnid(word)


def _of_classes(lines: list[str]) -> LabelFile:
    """A class a line, by its name, or by its wnid with words behind it."""
    wnids = [line.partition(" ")[0] for line in lines]
    classes = wnids if all(map(is_wnid, wnids)) else lines
    repeated = [name for name in dict.fromkeys(classes) if classes.count(name) > 1]
    if repeated:
        raise DatasetError(
            "expected a name and a label a line, or each class once: "
            f"{listed(repeated)}"
        )
    return LabelFile(classes=tuple(classes))


def _of_ilsvrc_ids(ids: list[int], folder: Path) -> LabelFile:
    """The devkit's ground truth. Its ids are in no order that a model has."""
    wnids = read_ilsvrc_ids(folder / "meta.mat")
    unknown = sorted(set(ids) - set(wnids))
    if unknown:
        raise DatasetError(f"meta.mat has no class with the id {listed(unknown)}")
    return _numbered([(wnids[number],) for number in ids])


def _numbered(rows: Iterable[Iterable[str]]) -> LabelFile:
    return LabelFile(by_number=dict(enumerate(map(tuple, rows), start=1)))


def _named(pairs: Iterable[tuple[str, tuple[str, ...]]]) -> LabelFile:
    found: dict[str, tuple[str, ...]] = {}
    repeated = [name for name, label in pairs if found.setdefault(name, label) != label]
    if repeated:
        raise DatasetError(f"two different labels for {listed(repeated)}")
    return LabelFile(by_name=found)


def number_of(name: str) -> int | None:
    """The number in a validation image's name, or None if it is not named so."""
    found = re.search(r"ILSVRC2012_val_(\d{8})", name)
    return int(found[1]) if found else None
