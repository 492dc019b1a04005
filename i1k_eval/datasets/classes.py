"""Which index each of a data set's classes has, by the classes' names."""

import dataclasses
import re
from collections.abc import Mapping, Sequence

from i1k_eval.datasets.dataset import DatasetError, listed
from i1k_eval.labels import (
    IMAGENET_CLASSES,
    class_names,
    has_imagenet_classes,
    is_subset,
    wnids,
)

_WNID = re.compile(r"n\d{8}")


@dataclasses.dataclass(frozen=True)
class Model:
    """What is known of the classes of the model that is evaluated.

    Attributes:
        num_classes: how many, or None where it is not known.
        label_names: their names, in order; none where they are not known.
    """

    num_classes: int | None = None
    label_names: tuple[str, ...] = ()

    @property
    def may_be_imagenet(self) -> bool:
        """Whether its logits can be those of ImageNet-1k's classes."""
        return self.num_classes is None or has_imagenet_classes(self.num_classes)


@dataclasses.dataclass(frozen=True)
class Classes:
    """Which logit is which class.

    Attributes:
        indices: each class's index, by the data set's name of it.
        subset: the only indices that count, or None if all do.
        imagenet: the indices are ImageNet-1k's.
    """

    indices: Mapping[str, int]
    subset: tuple[int, ...] | None = None
    imagenet: bool = False

    @property
    def names(self) -> dict[int, str]:
        """What each class is called, by its index; ImageNet's have WordNet's names."""
        called = dict(enumerate(class_names())) if self.imagenet else {}
        return {
            index: called.get(index, name)
            for name, index in self.indices.items()
            if self.imagenet or not is_index(name)
        }


def is_wnid(name: str) -> bool:
    """Whether it is an id of WordNet's, as ImageNet names its classes."""
    return _WNID.fullmatch(name) is not None


def is_index(name: str) -> bool:
    """Whether it is a number that can be a class's index."""
    return name.isascii() and name.isdecimal() and len(name) < 10


def classify(names: Sequence[str], model: Model, *, ordered: bool) -> Classes:
    """Finds the model's index of each class.

    By the model's own names; else as ImageNet's, by wnid; else by numbers, as
    ImageNet-V2 names its folders; else by order, as timm and torchvision do with any
    folders; else as ImageNet's, by what its classes are called.

    Args:
        names: the classes', each once.
        model: what is known of the model.
        ordered: whether their order is that of the model's classes, as a data set with
            a list of its labels has it; if not, it is that of the alphabet.

    Raises:
        DatasetError: if they are not the model's, or their order is ambiguous.
    """
    if named := _by_label_names(names, model, ordered):
        return named
    own = len(names) == model.num_classes and not model.may_be_imagenet
    if all(map(is_wnid, names)) and not own:
        return _by_wnid(names, model)
    if all(map(is_index, names)) and (not ordered or _is_count(names)):
        return _by_number(names, model)
    if model.num_classes in (None, len(names)):
        return Classes(_in_order(names if ordered else _alphabetic(names)))
    if model.may_be_imagenet and (found := _by_lemma(names)):
        return found
    raise DatasetError(
        f"the model has {model.num_classes} classes, the data set {len(names)}, and "
        f"their names are neither the model's nor ImageNet's: {listed(names)}"
    )


def _by_label_names(
    names: Sequence[str], model: Model, ordered: bool
) -> Classes | None:
    known = {name: index for index, name in enumerate(model.label_names)}
    found = [name for name in names if name in known]
    if not found or len(known) < len(model.label_names):  # a name that two classes have
        return None
    in_place = [names.index(name) == known[name] for name in found]
    if ordered and len(names) == len(known) and all(in_place):
        return None  # another spelling of some, and the same order
    if len(found) < len(names):
        others = [name for name in names if name not in known]
        raise DatasetError(
            f"{len(found)} classes have names of the model's, but it has no "
            f"{listed(others)}; its names are {listed(model.label_names)}"
        )
    return part_of({name: known[name] for name in names}, len(known))


def _by_wnid(names: Sequence[str], model: Model) -> Classes:
    known = {wnid: index for index, wnid in enumerate(wnids())}
    others = [name for name in names if name not in known]
    if others:
        raise DatasetError(f"not among ImageNet-1k's classes: {listed(others)}")
    if not model.may_be_imagenet:
        raise DatasetError(
            f"the model has {model.num_classes} classes, the data set {len(names)} of "
            "ImageNet's"
        )
    found = {name: known[name] for name in names}
    return dataclasses.replace(part_of(found, len(known)), imagenet=True)


def _by_number(names: Sequence[str], model: Model) -> Classes:
    """Numbers that start at 0 are indices, and so are those that leave some out."""
    found = {name: int(name) for name in names}
    numbers = sorted(found.values())
    imagenet = model.num_classes is not None and model.may_be_imagenet
    size = IMAGENET_CLASSES if imagenet else model.num_classes or len(names)
    if len(set(numbers)) < len(names):
        raise DatasetError(f"two classes have one number: {listed(names)}")
    if numbers[-1] < size:
        return dataclasses.replace(part_of(found, size), imagenet=imagenet)
    if size != len(names):
        raise DatasetError(
            f"the model has {size} classes, and the data set's numbers go up to "
            f"{numbers[-1]}"
        )
    return Classes(_in_order(_alphabetic(names)))


def _by_lemma(names: Sequence[str]) -> Classes | None:
    """By WordNet's words for ImageNet's classes: all of them, or the first."""
    known: dict[str, int | None] = {}
    for index, lemmas in enumerate(class_names()):
        for name in {lemmas, lemmas.partition(",")[0]}:
            known[name] = None if name in known else index  # None: of two classes
    if any(known.get(name) is None for name in names):
        return None
    found = {name: known[name] for name in names}
    return dataclasses.replace(part_of(found, IMAGENET_CLASSES), imagenet=True)


def _is_count(names: Sequence[str]) -> bool:
    return all(name == str(index) for index, name in enumerate(names))


def _alphabetic(names: Sequence[str]) -> list[str]:
    """The order of timm and of torchvision, where it is one."""
    torchvision = sorted(names)
    timm = sorted(torchvision, key=natural)
    if timm != torchvision:
        raise DatasetError(
            f"timm takes the classes in the order {listed(timm)}, torchvision in the "
            f"order {listed(torchvision)}: name the model's by --labels=FILE, with a "
            "class a line"
        )
    return timm


def natural(name: str) -> list[tuple[int, str]]:
    """timm's order: numbers by their value, and capital letters as small ones."""
    texts_and_numbers = re.split(r"(\d+)", name.lower())
    texts_and_numbers[1::2] = [number.lstrip("0") for number in texts_and_numbers[1::2]]
    return [
        (len(part) if place % 2 else 0, part)  # the longer number is the larger
        for place, part in enumerate(texts_and_numbers)
    ]


def _in_order(names: Sequence[str]) -> dict[str, int]:
    return {name: index for index, name in enumerate(names)}


def part_of(indices: Mapping[str, int], size: int) -> Classes:
    """Classes of a model that has `size`.

    Only theirs count where they are those of a known part of ImageNet's, by which
    models are compared. Elsewhere all of the model's do: a folder that lacks some
    classes would else be easier than the whole.
    """
    known = size == IMAGENET_CLASSES and is_subset(indices.values())
    return Classes(indices, tuple(sorted(indices.values())) if known else None)
