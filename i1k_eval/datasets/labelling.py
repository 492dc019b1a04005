"""Labels for images: by their class, or as a label file has them."""

import dataclasses
from collections.abc import Callable, Iterable, Mapping, Sequence

from i1k_eval.datasets.classes import Classes, Model, classify, is_index, part_of
from i1k_eval.datasets.dataset import DatasetError, listed
from i1k_eval.datasets.label_file import LabelFile, number_of
from i1k_eval.labels import IMAGENET_CLASSES

Labels = frozenset[int]


@dataclasses.dataclass(frozen=True)
class Labelling:
    """The labels of a data set's images.

    Attributes:
        labels: each image's, in order.
        classes: which logit is which class.
        notes: how they were found.
    """

    labels: Sequence[Labels]
    classes: Classes
    notes: tuple[str, ...] = ()


def by_folder(paths: Sequence[str], order: Sequence[str], model: Model) -> Labelling:
    """Each image's label is its folder's class; as in timm, no image is no class.

    Args:
        paths: the images', "folder/file".
        order: the model's classes as a label file lists them, or nothing.
        model: what is known of the model.

    Raises:
        DatasetError: if an image lies in no folder, or the folders are not the model's
            classes.
    """
    outside = [path for path in paths if "/" not in path]
    if outside:
        raise DatasetError(
            f"{len(outside)} images lie in no class folder, and need --labels=FILE: "
            f"{listed(outside)}"
        )
    folders = list(dict.fromkeys(path.partition("/")[0] for path in paths))
    classes = class_indices(folders, order, model, ordered=False)
    labels = {name: frozenset([index]) for name, index in classes.indices.items()}
    return Labelling([labels[path.partition("/")[0]] for path in paths], classes)


def by_file(paths: Sequence[str], file: LabelFile, model: Model) -> Labelling:
    """Each image's labels are those that a file has for its name or its number.

    Raises:
        DatasetError: if the file labels none of the images, or two by one name, or a
            label is no class of the model.
    """
    written = file.by_number or file.by_name
    texts = {text for row in written.values() for text in row}
    classes = of_texts(sorted(texts), model)
    if file.by_number:
        labels = [number_labels(path, file, classes) for path in paths]
        named = sum(number_of(path) in file.by_number for path in paths)
    else:
        keys = _keys(paths, file.by_name)
        labels = [_indices(file.by_name.get(key or "", ()), classes) for key in keys]
        named = sum(key is not None for key in keys)
    if not named:
        raise DatasetError(
            f"the labels are of none of the images, {listed(paths, 2)}; they are of "
            f"{listed(file.by_name or ['ILSVRC2012_val_00000001.JPEG'], 2)}"
        )
    return Labelling(labels, classes, _unmatched(len(paths), named, len(written)))


def number_labels(name: str, file: LabelFile, classes: Classes) -> Labels:
    """The labels of one image of a file that goes by numbers; none for another."""
    return _indices(file.by_number.get(number_of(name) or 0, ()), classes)


def of_texts(texts: Sequence[str], model: Model) -> Classes:
    """The index of each label of a label file: itself, or what it is the name of.

    Raises:
        DatasetError: if some are indices and some are names, or one is no class of the
            model.
    """
    indices = [text for text in texts if is_index(text)]
    if not indices or set(texts) <= set(model.label_names):
        return dataclasses.replace(classify(texts, model, ordered=False), subset=None)
    if len(indices) < len(texts):
        names = [text for text in texts if not is_index(text)]
        raise DatasetError(
            f"some labels are indices ({listed(indices, 2)}), and some are names "
            f"({listed(names, 2)})"
        )
    found = {text: int(text) for text in texts}
    last = max(found.values())
    imagenet = model.may_be_imagenet and last < IMAGENET_CLASSES
    size = IMAGENET_CLASSES if imagenet else model.num_classes
    if size is not None and last >= size:
        raise DatasetError(f"expected indices from 0 to {size - 1}, found {last}")
    return Classes(found, imagenet=imagenet)


def class_indices(
    names: Sequence[str], order: Sequence[str], model: Model, *, ordered: bool
) -> Classes:
    """The index of each class: its place in `order`, or else what `classify` finds.

    Raises:
        DatasetError: if a class is not in the order, or the order is not the model's.
    """
    if not order:
        return classify(names, model, ordered=ordered)
    places = {name: index for index, name in enumerate(order)}
    others = [name for name in names if name not in places]
    if others:
        raise DatasetError(f"the list of classes has no {listed(others)}")
    if model.num_classes not in (None, len(places)):
        raise DatasetError(
            f"the model has {model.num_classes} classes, the list {len(places)}"
        )
    return part_of({name: places[name] for name in names}, len(places))


def _indices(texts: Iterable[str], classes: Classes) -> Labels:
    return frozenset(classes.indices[text] for text in texts)


def _keys(paths: Sequence[str], named: Mapping[str, object]) -> list[str | None]:
    """The name that a label file has for each image: its path, its file's, its stem."""
    forms: Sequence[Callable[[str], str]] = (str, _file, _stem)
    found = [next((f(p) for f in forms if f(p) in named), None) for p in paths]
    by_key: dict[str, str] = {}
    for path, key in zip(paths, found, strict=True):
        if key is not None and by_key.setdefault(key, path) != path:
            raise DatasetError(
                f"the label of {key} is that of {path}, and of {by_key[key]}: expected "
                "their paths"
            )
    return found


def _file(path: str) -> str:
    return path.rpartition("/")[2]


def _stem(path: str) -> str:
    return _file(path).rpartition(".")[0]


def _unmatched(images: int, named: int, labels: int) -> tuple[str, ...]:
    notes = []
    if images > named:
        notes.append(f"{images - named} of {images} images are not in the label file")
    if labels > named:
        notes.append(f"{labels - named} of {labels} labels are of images not there")
    return tuple(notes)
