"""A data set of tensorflow-datasets that is on disk."""

import dataclasses
import functools
import os
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from i1k_eval import labels as imagenet
from i1k_eval.datasets.blocks import Block, of_blocks
from i1k_eval.datasets.classes import Classes, Model
from i1k_eval.datasets.dataset import Dataset, DatasetError, Example, listed
from i1k_eval.datasets.label_file import LabelFile
from i1k_eval.datasets.labelling import class_indices, number_labels, of_texts

Labels = Callable[[Mapping[str, Any]], frozenset[int]]  # a row's

_VERSION = re.compile(r"\d+\.\d+\.\d+")


def open_tfds(source: str, *, split: str, labels: LabelFile, model: Model) -> Dataset:
    """A data set of tensorflow-datasets, from its files; nothing is downloaded.

    Args:
        source: "tfds:NAME[/CONFIG][:VERSION]" of what is below the environment's
            `TFDS_DATA_DIR`, or ~/tensorflow_datasets, as its users set it; or
            "tfds:FOLDER" of the folder that has its `features.json`.
        split: the one that is meant; where it is empty, the only one, or else
            validation, or else test.
        labels: what a label file says, by number or as an order of classes.
        model: what is known of the model.

    Raises:
        DatasetError: if it is not on disk, or has no image, label or split as expected.
        ImportError: if tensorflow-datasets is not installed.
    """
    try:
        import tensorflow as tf
        import tensorflow_datasets as tfds
    except ImportError as error:
        raise ImportError(f"{source}: pip install 'vit_tf[eval]' ({error})") from error
    name = source.removeprefix("tfds:")
    folder = _folder(name)
    builder = _builder(folder)
    split = _split(builder.info.splits, split, folder)
    try:
        features = _features(builder.info, tfds)
        label, classes = _labels(features, labels, model)
    except DatasetError as error:
        raise DatasetError(f"{source}: {error}") from error
    if classes.imagenet and not classes.subset and not labels.by_number:
        known = imagenet.subset(name.partition(":")[0].partition("/")[0])
        classes = dataclasses.replace(classes, subset=known)
    rows = functools.partial(_examples, builder, split, features, label)
    blocks, first = [], 0
    for length in builder.info.splits[split].shard_lengths:
        names = [f"{split}[{first + index}]" for index in range(length)]
        blocks.append(Block(names, functools.partial(rows, names, first)))
        first += length
    return of_blocks(source, blocks, classes, (tf.errors.OpError, OSError))


def _builder(folder: Path) -> Any:
    import tensorflow_datasets as tfds
    from google.protobuf.json_format import ParseError  # a library of tfds's

    try:
        return tfds.builder_from_directory(folder)
    except (ParseError, OSError, ValueError, KeyError, TypeError) as error:
        reason = str(error).strip().partition("\n")[0]
        raise DatasetError(f"{folder} is no data set of tfds: {reason}") from error


@dataclasses.dataclass(frozen=True)
class Features:
    """Where a row has what is needed.

    Attributes:
        image: the name of the encoded image.
        label: that of the label, or of a list of those that are right.
        file_name: that of the image's file name, or nothing.
        class_names: the label's classes, in order.
    """

    image: str
    label: str
    file_name: str
    class_names: tuple[str, ...]


def _features(info: Any, tfds: Any) -> Features:
    """The image, the label and the file's name: the only ones, or those named so.

    A label that the data set says to be what is learned comes before those: beside
    ReaL's labels, and others that are lists, there is the original one.
    """
    features = {name: _of_list(info.features[name], tfds) for name in info.features}
    of_kind = {
        kind: [name for name in features if isinstance(features[name], kind)]
        for kind in (tfds.features.Image, tfds.features.ClassLabel, tfds.features.Text)
    }
    images, labels, texts = of_kind.values()
    learned = [name for name in info.supervised_keys or () if name in labels]
    image = "image" if "image" in images else images[0] if len(images) == 1 else ""
    label = "label" if "label" in labels else labels[0] if len(labels) == 1 else ""
    label = learned[0] if len(learned) == 1 else label
    if not image or not label:
        raise DatasetError(
            "expected an image and a class label, or features named `image` and "
            f"`label`; it has images {images}, labels {labels}"
        )
    file_name = next((x for x in ("file_name", "filename") if x in texts), "")
    found = features[label]
    count = range(found.num_classes or 0)
    return Features(image, label, file_name, tuple(map(found.int2str, count)))


def _of_list(feature: Any, tfds: Any) -> Any:
    """What a list of class labels is of; any other feature is itself."""
    inner = getattr(feature, "feature", None)
    return inner if isinstance(inner, tfds.features.ClassLabel) else feature


def _labels(
    features: Features, labels: LabelFile, model: Model
) -> tuple[Labels, Classes]:
    """What gives a row its labels, and which logit is which class."""
    if labels.by_name or (labels.by_number and not features.file_name):
        raise DatasetError("labels of a file go by file names, which it does not have")
    if labels.by_number:
        texts = {text for row in labels.by_number.values() for text in row}
        classes = of_texts(sorted(texts), model)
        return lambda row: number_labels(
            row[features.file_name].decode("utf-8", "replace"), labels, classes
        ), classes
    if not features.class_names:
        raise DatasetError(f"its feature {features.label!r} has no classes")
    classes = class_indices(features.class_names, labels.classes, model, ordered=True)
    indices = [frozenset([classes.indices[name]]) for name in features.class_names]
    indices.append(frozenset())  # -1 is an image without a label

    def of_row(row: Mapping[str, Any]) -> frozenset[int]:
        found = np.atleast_1d(row[features.label])
        return frozenset().union(*(indices[number] for number in found))

    return of_row, classes


def _examples(
    builder: Any,
    split: str,
    features: Features,
    labels: Labels,
    names: Sequence[str],
    first: int,
    low: int,
    high: int,
) -> Iterator[Example]:
    """Rows of a shard, whose first is the split's row `first`."""
    import tensorflow_datasets as tfds

    start, stop = first + low, first + high
    wanted = [features.image, features.label, features.file_name]
    rows = builder.as_dataset(
        split=tfds.core.ReadInstruction(split, from_=start, to=stop, unit="abs"),
        decoders=tfds.decode.PartialDecoding(
            {name: builder.info.features[name] for name in wanted if name},
            decoders={features.image: tfds.decode.SkipDecoding()},
        ),
        shuffle_files=False,
    ).as_numpy_iterator()
    for name, row in zip(names[low:high], rows, strict=False):
        yield Example(name, row[features.image], labels(row))


def _split(splits: Mapping[str, Any], split: str, folder: Path) -> str:
    there = [name for name in splits if splits[name].num_examples]
    if split in there:
        return split
    if split:
        raise DatasetError(f"{folder} has no split {split!r}; it has {listed(there)}")
    usual = [name for name in ("validation", "test") if name in there]
    if len(there) == 1:
        return there[0]
    if not usual:
        raise DatasetError(f"expected --split, one of {listed(there)}, for {folder}")
    return usual[0]


def _folder(name: str) -> Path:
    """The folder of a data set's newest version, or of the one that is named."""
    if Path(name, "features.json").is_file():
        return Path(name)
    data_dir = os.environ.get("TFDS_DATA_DIR", "~/tensorflow_datasets")
    path, _, version = name.partition(":")
    folder = Path(data_dir).expanduser() / path
    versions = _versions(folder)
    if not versions and folder.is_dir():
        configs = [inner for inner in sorted(folder.iterdir()) if _versions(inner)]
        if len(configs) > 1:
            found = listed(f"tfds:{path}/{config.name}" for config in configs)
            raise DatasetError(f"expected one of its configurations: {found}")
        folder = configs[0] if configs else folder
        versions = _versions(folder)
    if not versions or (version and version not in versions):
        raise DatasetError(
            f"tfds:{name} is not on disk: looked for {folder}/{version or 'VERSION'}"
            f"/features.json (TFDS_DATA_DIR tells where), found "
            f"{listed(versions) or 'nothing'}"
        )
    newest = max(versions, key=lambda text: tuple(map(int, text.split("."))))
    return folder / (version or newest)


def _versions(folder: Path) -> list[str]:
    found = (file.parent.name for file in folder.glob("*/features.json"))
    return sorted(version for version in found if _VERSION.fullmatch(version))
