"""Images and data sets for the tests of `i1k_eval`: generated, seeded, in memory."""

import dataclasses
import io
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
from PIL import Image

from i1k_eval.datasets.dataset import Example


def encoded(seed: int, size: tuple[int, int], kind: str = "png", **options) -> bytes:
    """A photograph of nothing: smooth colours with some noise, (width, height)."""
    rng = np.random.default_rng(seed)
    coarse = Image.fromarray(rng.integers(0, 256, (4, 4, 3), np.uint8))
    smooth = np.asarray(coarse.resize(size, Image.Resampling.BICUBIC), np.int16)
    noisy = smooth + rng.integers(-20, 21, smooth.shape, np.int16)
    file = io.BytesIO()
    image = Image.fromarray(noisy.clip(0, 255).astype(np.uint8))
    image.save(file, kind, **options)
    return file.getvalue()


def write_folder(root: Path, images: int, classes: int) -> Path:
    """JPEGs and PNGs of many sizes and qualities, in a folder for each class."""
    rng = np.random.default_rng(images)
    for i in range(images):
        folder = root / f"class_{i % classes}"
        folder.mkdir(parents=True, exist_ok=True)
        size = tuple(rng.integers(20, 100, 2).tolist())
        if i % 3:
            options = dict(quality=int(rng.integers(30, 100)), subsampling=i % 3)
            (folder / f"{i:04}.jpg").write_bytes(encoded(i, size, "jpeg", **options))
        else:
            (folder / f"{i:04}.png").write_bytes(encoded(i, size))
    return root


@dataclasses.dataclass(frozen=True)
class InMemory:
    """A data set as `open_dataset` gives them."""

    all_examples: Sequence[Example]
    name: str = "in memory"
    classes: Sequence[int] | None = None
    imagenet: bool = False
    class_names: dict[int, str] = dataclasses.field(default_factory=dict)
    notes: tuple[str, ...] = ()

    @property
    def names(self) -> list[str]:
        return [example.name for example in self.all_examples]

    def examples(self, start: int = 0, stop: int | None = None) -> Iterator[Example]:
        return iter(self.all_examples[start:stop])


def in_memory(images: int, labels: int = 10, **options) -> InMemory:
    """Images of odd sizes, some of them tall, labelled in turn."""
    sizes = [(50, 40), (31, 90), (40, 41), (33, 64)]
    return InMemory(
        [
            Example(f"{i}.png", encoded(i, sizes[i % 4]), frozenset([i % labels]))
            for i in range(images)
        ],
        **options,
    )
