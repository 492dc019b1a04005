"""Image files, in a folder or in a tar, as a data set."""

from collections.abc import Callable, Iterator, Sequence

from i1k_eval.datasets.classes import Model
from i1k_eval.datasets.dataset import (
    LARGEST,
    Dataset,
    DatasetError,
    Example,
    printable,
)
from i1k_eval.datasets.label_file import LabelFile
from i1k_eval.datasets.labelling import by_file, by_folder

# From an index to another, each image's bytes, or why they cannot be read.
Reader = Callable[[int, int], Iterator[bytes | OSError]]


def of_files(
    name: str, paths: Sequence[str], read: Reader, labels: LabelFile, model: Model
) -> Dataset:
    """A data set of image files.

    Args:
        name: what the user named.
        paths: each image's, "class folder/file" or "file".
        read: gives their bytes.
        labels: what a label file says; nothing: folders are classes.
        model: what is known of the model.

    Raises:
        DatasetError: if the labels cannot be told.
    """
    found = (
        by_file(paths, labels, model)
        if labels.by_name or labels.by_number
        else by_folder(paths, labels.classes, model)
    )
    names = [printable(path) for path in paths]

    def examples(start: int, stop: int) -> Iterator[Example]:
        for index, encoded in enumerate(read(start, stop), start):
            image, label = names[index], found.labels[index]
            if isinstance(encoded, OSError):
                reason = encoded.strerror or str(encoded)
                yield Example(image, b"", label, printable(reason))
            else:
                yield Example(image, encoded, label)

    return Dataset(
        name,
        names,
        examples,
        classes=found.classes.subset,
        imagenet=found.classes.imagenet,
        class_names=found.classes.names,
        notes=found.notes,
    )


def class_and_file(paths: Sequence[str]) -> None:
    """Sees to it that images lie in one level of folders.

    Raises:
        DatasetError: if some lie deeper: their class could be either folder.
    """
    deeper = [path for path in paths if path.count("/") > 1]
    if deeper:
        raise DatasetError(
            f"expected class folders with images; {len(deeper)} lie deeper, as "
            f"{printable(deeper[0])}: name the folder of class folders, or --split"
        )


def checked_size(size: int) -> int:
    """A size in bytes that an image file can have.

    Raises:
        OSError: if it is larger.
    """
    if size > LARGEST:
        raise OSError(f"{size} bytes are more than an image's, {LARGEST}")
    return size
