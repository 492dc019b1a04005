"""Small scenes, half of them with a face, cut from scikit-image's photographs.

Faces are the 100 of `lfw_subset`; what has none is cut from photographs that have no
face in them. A scene is such a crop with a square pasted into it, of a face or of
another photograph, so that the square's edge does not tell them apart.
"""

from collections.abc import Iterator

import numpy as np
import skimage
from skimage.transform import resize

SIZE, FACE = 40, 25  # pixels of a scene, and of a face in it
PATCH = 5
MEAN, STD = 0.4, 0.25  # about those of the scenes' pixels
FACELESS = ("brick", "chelsea", "clock", "coffee", "coins", "grass", "gravel", "rocket")
HELD_OUT = 20  # faces that no training scene has


def photographs() -> list[np.ndarray]:
    """Those without a face, each in three sizes, as (height, width) from 0 to 1."""
    found = []
    for name in FACELESS:
        grey = _grey(getattr(skimage.data, name)())
        for height in (80, 130, 200):
            found.append(_resized(grey, height))
    return found


def astronaut() -> np.ndarray:
    """A photograph that no scene is of, (75, 115): a face is about as large as there.

    The upper part of `skimage.data.astronaut()`: Eileen Collins (NASA).
    """
    grey = _grey(skimage.data.astronaut())
    return _resized(grey, 115)[:75, :115]


def normalised(images: np.ndarray) -> np.ndarray:
    """(..., height, width) from 0 to 1 as the models take them, (..., 1) float32."""
    return ((images - MEAN) / STD).astype(np.float32)[..., None]


def scenes(count: int, seed: int, *, held_out: bool = False) -> tuple[np.ndarray, ...]:
    """Scenes, and whether a face is there.

    Args:
        count: How many.
        seed: What they are drawn from.
        held_out: Whether the faces are those that training scenes do not have.

    Returns:
        (count, SIZE, SIZE, 1) float32, normalised, and (count,) int64.
    """
    rng = np.random.default_rng(seed)
    faces = skimage.data.lfw_subset()[:100]
    faces = faces[-HELD_OUT:] if held_out else faces[:-HELD_OUT]
    labels = rng.integers(0, 2, count)
    drawn = _drawn(faces, photographs(), labels, rng)
    return normalised(np.stack(list(drawn))), labels


def _drawn(
    faces: np.ndarray,
    photos: list[np.ndarray],
    labels: np.ndarray,
    rng: np.random.Generator,
) -> Iterator[np.ndarray]:
    for label in labels:
        scene = _crop(photos, SIZE, rng)
        square = faces[rng.integers(len(faces))] if label else _crop(photos, FACE, rng)
        top, left = rng.integers(0, SIZE - FACE + 1, 2)
        square = square[:, :: rng.choice([-1, 1])]
        scene[top : top + FACE, left : left + FACE] = square
        contrast, brightness = rng.uniform(0.6, 1.2), rng.uniform(-0.15, 0.15)
        yield np.clip((scene - 0.5) * contrast + 0.5 + brightness, 0, 1)


def _crop(photos: list[np.ndarray], size: int, rng: np.random.Generator) -> np.ndarray:
    photo = photos[rng.integers(len(photos))]
    top, left = (rng.integers(0, side - size + 1) for side in photo.shape)
    return photo[top : top + size, left : left + size].copy()


def _grey(image: np.ndarray) -> np.ndarray:
    image = skimage.util.img_as_float(image)
    return skimage.color.rgb2gray(image[..., :3]) if image.ndim == 3 else image


def _resized(image: np.ndarray, height: int) -> np.ndarray:
    width = round(image.shape[1] * height / image.shape[0])
    return resize(image, (height, width), anti_aliasing=True)
