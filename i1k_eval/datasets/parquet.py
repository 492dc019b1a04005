"""Parquet files with images and labels, as the Hugging Face hub has them."""

import dataclasses
import functools
import glob
import json
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from i1k_eval.datasets.blocks import Block, of_blocks
from i1k_eval.datasets.classes import Classes, Model, is_index
from i1k_eval.datasets.dataset import (
    Dataset,
    DatasetError,
    Example,
    listed,
    printable,
)
from i1k_eval.datasets.label_file import LabelFile, number_of
from i1k_eval.datasets.labelling import class_indices, number_labels, of_texts

Labels = Callable[[Any, str], frozenset[int]]  # of a row's label, and its path

_ROWS = 16  # that are in memory at a time
_BUFFER = 1 << 20  # bytes; without it a whole row group is read at once


@dataclasses.dataclass(frozen=True)
class Columns:
    """What the files hold.

    Attributes:
        image: the column of images: bytes, or bytes and path.
        label: that of labels.
        has_path: whether an image has its file's path beside the bytes.
        class_names: the labels' classes in order; none where the file does not say.
    """

    image: str
    label: str
    has_path: bool
    class_names: tuple[str, ...]


def find_shards(source: str, split: str) -> list[Path]:
    """The Parquet files that a file's name, a pattern or a folder stands for.

    Args:
        source: what the user named.
        split: the beginning of their names that is meant, as in
            "validation-00000-of-00014.parquet"; empty: all are of one.

    Returns:
        Them, sorted; none if there is none.

    Raises:
        DatasetError: if they are of several splits, or none is of `split`.
    """
    path = Path(source)
    if path.is_dir():
        found = [str(file) for file in path.rglob("*.parquet")]
    else:
        found = [source] if path.is_file() else glob.glob(source)
    files = sorted(Path(file) for file in found if file.endswith(".parquet"))
    splits = {file.name.partition("-")[0] for file in files}
    if split or (path.is_dir() and len(splits) > 1):
        chosen = [file for file in files if split and _is_of(file, split)]
        if files and not chosen:
            raise DatasetError(
                f"expected --split of {source}: {listed(sorted(splits))}"
            )
        return chosen
    return files


def open_parquet(
    source: str, files: Sequence[Path], *, labels: LabelFile, model: Model
) -> Dataset:
    """Parquet files as a data set: an image and a label a row.

    Args:
        source: what the user named.
        files: in their order.
        labels: what a label file says, by number or as an order of classes.
        model: what is known of the model.

    Raises:
        DatasetError: if one is no Parquet file or has other columns than expected, or
            the labels cannot be told.
        ImportError: if pyarrow is not installed.
    """
    try:
        import pyarrow
        from pyarrow import parquet
    except ImportError as error:
        raise ImportError(f"{source}: pip install 'vit_tf[eval]' ({error})") from error
    groups: list[tuple[Path, int, list[str]]] = []
    found = {}
    for file in files:
        try:
            opened = parquet.ParquetFile(file)
            found[file] = _columns(opened.schema_arrow)
        except (pyarrow.ArrowException, OSError, DatasetError) as error:
            reason = str(error).partition("\n")[0]
            raise DatasetError(f"{file} is not as expected: {reason}") from error
        groups.extend(_groups(file, opened.metadata))
    columns = found[files[0]]
    others = [file for file in files if found[file] != columns]
    if others:
        raise DatasetError(f"{files[0]} has other columns or classes than {others[0]}")
    try:
        label, classes = _labels(files, columns, labels, model)
    except DatasetError as error:
        raise DatasetError(f"{source}: {error}") from error
    blocks = [
        Block(group[2], functools.partial(_examples, *group, columns, label))
        for group in groups
    ]
    return of_blocks(source, blocks, classes, (pyarrow.ArrowException, OSError))


def _is_of(file: Path, split: str) -> bool:
    return file.name.startswith((split + "-", split + "."))


def _groups(file: Path, metadata: Any) -> Iterator[tuple[Path, int, list[str]]]:
    """Each row group: its file, its number, the names of its rows."""
    first = 0
    for group in range(metadata.num_row_groups):
        stop = first + metadata.row_group(group).num_rows
        where = printable(str(file))
        yield file, group, [f"row {i} of {where}" for i in range(first, stop)]
        first = stop


def _columns(schema: Any) -> Columns:
    """The columns, by what the hub's metadata say they are, or by their names."""
    features = _hub_features(schema.metadata or {})
    image = _column("image", schema.names, features, "Image")
    label = _column("label", schema.names, features, "ClassLabel")
    kind = schema.field(image).type
    fields = [kind.field(i).name for i in range(kind.num_fields)]
    if "bytes" not in fields and str(kind) not in ("binary", "large_binary"):
        raise DatasetError(f"expected bytes in its column {image!r}, found {kind}")
    kind = schema.field(label).type
    if not re.search(r"int|string", str(kind)):
        raise DatasetError(f"expected integers or text in {label!r}, found {kind}")
    names = features.get(label, {}).get("names", [])
    return Columns(image, label, "path" in fields, tuple(names))


def _hub_features(metadata: Mapping[bytes, bytes]) -> dict[str, dict[str, Any]]:
    try:
        features = json.loads(metadata.get(b"huggingface", b"{}"))
        features = features.get("info", {}).get("features", {})
        return {k: v for k, v in features.items() if isinstance(v, dict)}
    except (ValueError, AttributeError) as error:
        raise DatasetError(f"the hub's metadata are broken: {error}") from error


def _column(
    usual: str, names: Sequence[str], features: Mapping[str, Any], kind: str
) -> str:
    """The column of that name, or the only one of that kind."""
    if usual in names:
        return usual
    found = [x for x in names if features.get(x, {}).get("_type") == kind]
    if len(found) == 1:
        return found[0]
    raise DatasetError(
        f"expected a column {usual!r}, or one {kind}; it has {listed(names)}"
    )


def _labels(
    files: Sequence[Path], columns: Columns, labels: LabelFile, model: Model
) -> tuple[Labels, Classes]:
    """What gives a row its labels, of its label and path; and which logit is which."""
    if labels.by_name:
        raise DatasetError(
            "labels of a file go by file names: expected a folder or tar"
        )
    if labels.by_number:
        texts = {text for row in labels.by_number.values() for text in row}
        classes = of_texts(sorted(texts), model)
        if not any(number_of(path) for path in _paths(files, columns)):
            raise DatasetError(
                "the labels go by numbers as in ILSVRC2012_val_00000001.JPEG, and no "
                f"path in its column {columns.image!r} has one"
            )
        return lambda _, path: number_labels(path, labels, classes), classes
    names = columns.class_names
    if names:
        classes = class_indices(names, labels.classes, model, ordered=True)
    else:
        texts = sorted(set(_label_texts(files, columns)))
        if labels.classes or not all(map(is_index, texts)):
            classes = class_indices(texts, labels.classes, model, ordered=False)
        else:
            classes = of_texts(texts, model)
    indices = classes.indices
    return lambda label, _: frozenset(indices[x] for x in _texts(label, names)), classes


def _texts(label: Any, class_names: Sequence[str]) -> list[str]:
    """A row's labels as names of classes; null and -1 are none."""
    found = label if isinstance(label, list) else [label]
    if class_names and not any(isinstance(x, str) for x in found):
        size = len(class_names)
        return [class_names[x] for x in found if x is not None and 0 <= x < size]
    return [str(x) for x in found if x is not None and x != -1]


def _label_texts(files: Sequence[Path], columns: Columns) -> Iterator[str]:
    for row in _values(files, columns.label):
        yield from _texts(row, ())


def _paths(files: Sequence[Path], columns: Columns) -> Iterator[str]:
    if columns.has_path:
        for image in _values(files, f"{columns.image}.path"):
            yield (image or {}).get("path") or ""


def _values(files: Sequence[Path], column: str) -> Iterator[Any]:
    """All values of one column, without what is beside it."""
    from pyarrow import parquet

    for file in files:
        with parquet.ParquetFile(file) as opened:
            for batch in opened.iter_batches(columns=[column]):
                yield from batch.column(0).to_pylist()


def _examples(
    file: Path,
    group: int,
    names: Sequence[str],
    columns: Columns,
    labels: Labels,
    low: int,
    high: int,
) -> Iterator[Example]:
    rows = _rows(file, group, low, [columns.image, columns.label])
    for name, row in zip(names[low:high], rows, strict=False):
        image = row[columns.image]
        if not isinstance(image, dict):
            image = {"bytes": image}
        label = labels(row[columns.label], image.get("path") or "")
        error = "" if image.get("bytes") else "the row has no bytes"
        yield Example(name, image.get("bytes") or b"", label, error)


def _rows(
    file: Path, group: int, start: int, columns: list[str]
) -> Iterator[dict[str, Any]]:
    """The rows of a group, a few in memory at a time."""
    from pyarrow import parquet

    with parquet.ParquetFile(file, buffer_size=_BUFFER) as opened:
        for batch in opened.iter_batches(
            batch_size=_ROWS, row_groups=[group], columns=columns
        ):
            wanted = batch.slice(min(start, len(batch)))
            start -= len(batch) - len(wanted)
            yield from wanted.to_pylist()
