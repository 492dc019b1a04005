"""What a data set is: names in a fixed order, and an iterator from any place in it."""

import dataclasses
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

LARGEST = 1 << 30  # bytes of one image file: what is larger is no image

# What can be an image: torchvision's list, and GIF. What cannot be decoded is counted.
IMAGE_SUFFIXES = (
    ".jpg", ".jpeg", ".png", ".bmp", ".webp", ".ppm", ".pgm", ".tif", ".tiff", ".gif",
)  # fmt: skip


class DatasetError(ValueError):
    """A data set that cannot be evaluated: what was found, and what was expected."""


@dataclasses.dataclass(frozen=True)
class Example:
    """An image with its labels.

    Attributes:
        name: unique in its data set.
        encoded: the image file's bytes; empty where the source could not be read.
        labels: the class indices that count as right; none: it is not evaluated.
        error: why the source could not be read.
    """

    name: str
    encoded: bytes
    labels: frozenset[int]
    error: str = ""


@dataclasses.dataclass(frozen=True)
class Dataset:
    """Images with labels, read when they are asked for.

    Attributes:
        name: what the user named.
        names: every example's, in order.
        read: from an index to another, the examples between.
        classes: the only logits that count, where the data set has some of the model's
            classes only (ImageNet-A); None: all count.
        imagenet: labels are ImageNet-1k's indices; `label_map` applies to a model of
            more classes.
        class_names: the data set's own name of a class, by index, where it has one.
        notes: what the user should know about how labels were found.
    """

    name: str
    names: Sequence[str]
    read: Callable[[int, int], Iterator[Example]]
    classes: Sequence[int] | None = None
    imagenet: bool = False
    class_names: Mapping[int, str] = dataclasses.field(default_factory=dict)
    notes: tuple[str, ...] = ()

    def examples(self, start: int = 0, stop: int | None = None) -> Iterator[Example]:
        """The examples from `start` to before `stop`, in the order of `names`.

        Nothing is read before the first is asked for, and of what is before `start`
        only what the format makes necessary.
        """
        start, stop, _ = slice(start, stop).indices(len(self.names))
        return self.read(start, max(start, stop))


def is_image(name: str) -> bool:
    """Whether a file is an image, by its name; hidden files are none."""
    file = name.rsplit("/", 1)[-1]
    return file.lower().endswith(IMAGE_SUFFIXES) and not file.startswith(".")


def printable(name: str) -> str:
    """A file's name as text that can be printed and encoded, whatever bytes it has."""
    if name.isprintable():
        return name
    return name.encode("unicode_escape").decode("ascii")


def listed(items: Iterable[object], limit: int = 5) -> str:
    """The first of many things, for a message: "a, b, c ... (17 in all)"."""
    texts = [printable(str(item)) for item in items]
    if len(texts) <= limit:
        return ", ".join(texts)
    return f"{', '.join(texts[:limit])} ... ({len(texts)} in all)"
