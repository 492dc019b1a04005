"""Images with one class each: what to train on, and what to evaluate on."""

import dataclasses
import hashlib
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import numpy as np
import tensorflow as tf

from i1k_eval.datasets import Dataset, DatasetError, open_dataset
from i1k_eval.datasets.classes import natural
from i1k_eval.datasets.dataset import is_image, listed

TFDS = "tfds:"
EVALUATION = ("validation", "val", "test")


@dataclasses.dataclass(frozen=True)
class LabelledImages:
    """Images, in a fixed order.

    Attributes:
        names: Each one's, unique; of files in a folder their paths.
        labels: (N,) int64, the index of each one's class.
        encoded: (N,) string, the files themselves; None where `names` are their paths.
    """

    names: tuple[str, ...]
    labels: np.ndarray
    encoded: tf.Tensor | None = None

    def __len__(self) -> int:
        return len(self.names)

    def take(self, indices: np.ndarray) -> "LabelledImages":
        """Some of them."""
        encoded = None if self.encoded is None else tf.gather(self.encoded, indices)
        names = tuple(self.names[index] for index in indices)
        return LabelledImages(names, self.labels[indices], encoded)

    def reader(self) -> Callable[[tf.Tensor], tf.Tensor]:
        """What gives the bytes of the image with an index, also in a graph."""
        paths = tf.constant(self.names) if self.encoded is None else None

        def read(index: tf.Tensor) -> tf.Tensor:
            if paths is None:
                return self.encoded[index]
            return tf.io.read_file(paths[index])

        return read


@dataclasses.dataclass(frozen=True)
class Data:
    """What a model is fine-tuned on.

    Attributes:
        train: The images to train on.
        evaluation: Those that are held out.
        class_names: Each class's, by index.
        note: Where the two are from.
    """

    train: LabelledImages
    evaluation: LabelledImages
    class_names: tuple[str, ...]
    note: str

    def digest(self) -> str:
        """A sha256 of all names and labels, by which a data set is told again."""
        said = [self.class_names]
        for part in (self.train, self.evaluation):
            said.append((part.names, part.labels.tolist()))
        return hashlib.sha256(repr(said).encode()).hexdigest()


def open_data(
    source: str,
    *,
    train_split: str = "",
    val_split: str = "",
    val_share: float = 0.1,
    seed: int = 0,
) -> Data:
    """Opens a folder of class folders, or a data set of tensorflow-datasets.

    A folder has FOLDER/train/CLASS/FILE and FOLDER/validation, val or test; or
    FOLDER/CLASS/FILE, or no split beside train: then a share of each class is held out,
    drawn by the seed. Classes have the order that timm gives them: alphabetical, but
    numbers by their value. Of a tfds data set, which is on disk, the encoded images are
    held in memory.

    Args:
        source: The folder, or "tfds:NAME[/CONFIG][:VERSION]".
        train_split: Its name; "" for "train", or else all.
        val_split: Its name; "" for the first that is there of "validation", "val",
            "test".
        val_share: How much of each class is held out, where there is no such split.
        seed: What the share is drawn by.

    Raises:
        DatasetError: if there is no such source or split, it has fewer than two
            classes, or one without an image; if training's classes are not all that
            evaluation has.
    """
    if source.startswith(TFDS):
        return _of_tfds(source, train_split, val_split, val_share, seed)
    return _of_folder(Path(source), train_split, val_split, val_share, seed)


def _of_folder(
    folder: Path, train_split: str, val_split: str, val_share: float, seed: int
) -> Data:
    if not folder.is_dir():
        raise DatasetError(f"there is no folder {folder}")
    train = _split(folder, train_split, ("train",))
    evaluation = _split(folder, val_split, EVALUATION)
    if evaluation and not train:
        raise DatasetError(
            f"{folder} has {evaluation!r} and no 'train'; expected: both, or class "
            "folders alone"
        )
    names = _class_names(folder / train)
    images = _images(folder / train, names)
    if evaluation:
        held_out = _held_out(folder / evaluation, names)
        return Data(images, held_out, names, f"{folder}: {train} and {evaluation}")
    return _shared(images, names, val_share, seed, str(folder / train))


def _held_out(folder: Path, class_names: Sequence[str]) -> LabelledImages:
    """A folder's images, with the indices that `class_names` has for its classes.

    Raises:
        DatasetError: if one of its classes is none of those.
    """
    own = _class_names(folder)
    if others := [name for name in own if name not in class_names]:
        raise DatasetError(
            f"{folder}: classes {listed(others)} found, which are not trained on"
        )
    images, index = _images(folder, own), np.array([*map(class_names.index, own)])
    return dataclasses.replace(images, labels=index[images.labels])


def _split(folder: Path, asked: str, usual: Sequence[str]) -> str:
    """The folder of a split, or "" where there is none and none is asked for.

    Raises:
        DatasetError: if the one that is asked for is not there.
    """
    if asked:
        if not (folder / asked).is_dir():
            there = listed(sorted(path.name for path in _folders(folder)))
            raise DatasetError(f"{folder} has no folder {asked!r}; it has {there}")
        return asked
    return next((name for name in usual if (folder / name).is_dir()), "")


def _folders(folder: Path) -> list[Path]:
    return [p for p in folder.iterdir() if p.is_dir() and not p.name.startswith(".")]


def _class_names(folder: Path) -> tuple[str, ...]:
    """
    Raises:
        DatasetError: if there are fewer than two.
    """
    names = sorted(sorted(path.name for path in _folders(folder)), key=natural)
    if len(names) < 2:
        raise DatasetError(
            f"{folder}: {listed(names) or 'no'} class folder found; expected: two or "
            "more, a folder for each class"
        )
    return tuple(names)


def _images(folder: Path, class_names: Sequence[str]) -> LabelledImages:
    """
    Raises:
        DatasetError: naming every class without an image.
    """
    files = [sorted(_files(folder / name)) for name in class_names]
    if empty := [n for n, of in zip(class_names, files, strict=True) if not of]:
        raise DatasetError(
            f"{folder}: no image in {listed(empty)}; expected: images in the folder "
            "of each class"
        )
    labels = np.repeat(np.arange(len(files)), [len(of) for of in files])
    return LabelledImages(tuple(path for of in files for path in of), labels)


def _files(folder: Path) -> Iterator[str]:
    return (str(p) for p in folder.iterdir() if p.is_file() and is_image(p.name))


def _shared(
    images: LabelledImages,
    names: tuple[str, ...],
    share: float,
    seed: int,
    place: str,
) -> Data:
    """
    Raises:
        DatasetError: naming every class that cannot be shared.
    """
    rng = np.random.default_rng(seed)
    train, held_out, few = [], [], []
    for label, name in enumerate(names):
        own = rng.permutation(np.flatnonzero(images.labels == label))
        count = max(1, round(share * len(own)))
        if count >= len(own):
            few.append(name)
        held_out.append(np.sort(own[:count]))
        train.append(np.sort(own[count:]))
    if few:
        raise DatasetError(
            f"{place}: {share:g} of each class is held out, which leaves nothing of "
            f"{listed(few)}; expected: more images, or a folder 'val'"
        )
    parts = [images.take(np.concatenate(of)) for of in (train, held_out)]
    return Data(*parts, names, f"{place}: {share:g} of each class is held out")


def _of_tfds(
    source: str, train_split: str, val_split: str, val_share: float, seed: int
) -> Data:
    train = open_dataset(source, split=train_split or "train")
    evaluation = _tfds_evaluation(source, val_split)
    read = [_read(dataset) for dataset in (train, evaluation) if dataset]
    indices = sorted({int(label) for part in read for label in part.labels})
    names = tuple(train.class_names.get(index, str(index)) for index in indices)
    if len(names) < 2:
        raise DatasetError(
            f"{source}: {listed(names) or 'no'} class found; expected: two or more"
        )
    parts = [
        dataclasses.replace(part, labels=np.searchsorted(indices, part.labels))
        for part in read
    ]
    if absent := sorted(set(range(len(names))) - set(parts[0].labels.tolist())):
        raise DatasetError(
            f"{source}: no image to train on of {listed(names[i] for i in absent)}"
        )
    if evaluation is None:
        return _shared(parts[0], names, val_share, seed, source)
    return Data(*parts, names, f"{source}: its splits")


def _tfds_evaluation(source: str, val_split: str) -> Dataset | None:
    for split in (val_split,) if val_split else EVALUATION:
        try:
            return open_dataset(source, split=split)
        except DatasetError:
            if val_split:
                raise
    return None


def _read(dataset: Dataset) -> LabelledImages:
    """
    Raises:
        DatasetError: if an image cannot be read, or has another number of labels
            than one.
    """
    examples = [*dataset.examples()]
    if broken := [f"{e.name}: {e.error}" for e in examples if e.error]:
        raise DatasetError(f"{dataset.name}: cannot be read: {listed(broken)}")
    if several := [e.name for e in examples if len(e.labels) != 1]:
        raise DatasetError(
            f"{dataset.name}: one label expected of each image; {listed(several)} have "
            "none, or more"
        )
    labels = np.array([next(iter(example.labels)) for example in examples])
    encoded = tf.constant([example.encoded for example in examples])
    return LabelledImages(tuple(e.name for e in examples), labels, encoded)
