"""ImageNet's classes: their order, names, places in longer lists, and ReaL labels.

The source is what timm carries in `timm/data/_info`: the synset lists, WordNet's
lemmas, and the labels of "Are we done with ImageNet?", https://arxiv.org/abs/2006.07159.
The files are read where timm is installed; timm itself, and torch, are not imported.
"""

import functools
import importlib.util
import json
from collections.abc import Iterable
from pathlib import Path

import numpy as np

IMAGENET_CLASSES = 1000


@functools.cache
def wnids() -> tuple[str, ...]:
    """WordNet's id of each of ImageNet-1k's classes, in timm's order of the logits.

    Returns:
        1000 ids such as "n01440764"; their order is the alphabet's.

    Raises:
        ImportError: if timm is not installed.
    """
    return _lines("imagenet_synsets.txt")


@functools.cache
def class_names() -> tuple[str, ...]:
    """Each ImageNet-1k class in words: its WordNet lemmas, "tench, Tinca tinca".

    Returns:
        1000 names, in the order of `wnids`.

    Raises:
        ImportError: if timm is not installed.
    """
    rows = (line.split("\t") for line in _lines("imagenet_synset_to_lemma.txt"))
    lemmas = dict(rows)
    return tuple(lemmas[wnid] for wnid in wnids())


@functools.cache
def label_map(num_classes: int) -> np.ndarray | None:
    """Where a model of a longer list of classes has the logits of ImageNet-1k's.

    Args:
        num_classes: the model's; the list is known by its length (21,843 are Google's
            ImageNet-21k, 21,841 are ImageNet-22k ...).

    Returns:
        (1000,) int64: each class's index among the model's logits, and -1 for a class
        that the list does not hold (`not_in_list` names it); None for a number of
        classes that is no such list's, 1000 among them.

    Raises:
        ImportError: if timm is not installed.
    """
    known = _longer_lists().get(num_classes) if num_classes > IMAGENET_CLASSES else None
    if known is None:
        return None
    places = {wnid: index for index, wnid in enumerate(known)}
    return np.array([places.get(wnid, -1) for wnid in wnids()], np.int64)


def not_in_list(num_classes: int) -> tuple[str, ...]:
    """The ImageNet-1k classes that a longer list lacks, by wnid: `label_map`'s -1."""
    places = label_map(num_classes)
    if places is None:
        return ()
    return tuple(wnids()[i] for i in np.flatnonzero(places < 0))


def has_imagenet_classes(num_classes: int) -> bool:
    """Whether a model of so many classes can be scored on ImageNet-1k's."""
    return num_classes == IMAGENET_CLASSES or label_map(num_classes) is not None


def subset(name: str) -> tuple[int, ...] | None:
    """The classes of a data set that has some of ImageNet-1k's only.

    Args:
        name: timm's for it: "imagenet_a", "imagenet_r", "mini_imagenet".

    Returns:
        Their indices, or None if timm knows no such data set.
    """
    file = f"{name}_indices.txt"
    if not name.isidentifier() or not (_folder() / file).is_file():
        return None
    return tuple(int(line) for line in _lines(file))


def is_subset(indices: Iterable[int]) -> bool:
    """Whether classes are those of such a data set, no more and no fewer."""
    known = {subset(name) for name in ("imagenet_a", "imagenet_r", "mini_imagenet")}
    return tuple(sorted(indices)) in known


@functools.cache
def real_labels() -> tuple[tuple[int, ...], ...]:
    """ImageNet-ReaL: which classes are right for each of the 50,000 validation images.

    Returns:
        Class indices by the number in the image's file name, less one; none for the
        images that the paper leaves out.
    """
    labels = json.loads((_folder() / "imagenet_real_labels.json").read_text())
    return tuple(tuple(indices) for indices in labels)


@functools.cache
def _longer_lists() -> dict[int, tuple[str, ...]]:
    lists = (_lines(path.name) for path in _folder().glob("imagenet*_synsets.txt"))
    return {len(ids): ids for ids in lists if len(ids) > IMAGENET_CLASSES}


@functools.cache
def _folder() -> Path:
    spec = importlib.util.find_spec("timm")
    if spec is None or not spec.submodule_search_locations:
        raise ImportError(
            "ImageNet's classes are read from timm: pip install 'vit_tf[convert]'"
        )
    return Path(spec.submodule_search_locations[0]) / "data" / "_info"


def _lines(name: str) -> tuple[str, ...]:
    return tuple((_folder() / name).read_text("utf-8").splitlines())
