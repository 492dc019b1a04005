"""The data and the models of the pictures in docs/explain.md."""

import sys
from pathlib import Path

import numpy as np
import skimage

FACES = Path(__file__).parent.parent / "examples" / "faces"
sys.path.insert(0, str(FACES))

from make_pictures import of_digits  # noqa: E402
from scenes import FACE, HELD_OUT, SIZE, astronaut, normalised, scenes  # noqa: E402


def test_a_scene_has_a_face_where_its_label_says_so():
    images, labels = scenes(40, seed=0)
    again, _ = scenes(40, seed=0)
    assert images.shape == (40, SIZE, SIZE, 1)
    assert images.dtype == np.float32
    np.testing.assert_array_equal(images, again)
    known, held_out = np.split(skimage.data.lfw_subset()[:100], [-HELD_OUT])
    for image, label in zip(images[..., 0], labels, strict=True):
        assert (most_alike(image, known) > 0.95) == bool(label)
    assert 0 < labels.sum() < 40
    unseen, labels = scenes(10, seed=1, held_out=True)
    face = unseen[labels.argmax(), ..., 0]
    assert most_alike(face, held_out) > 0.95 > most_alike(face, known)


def most_alike(image, faces):
    """The largest correlation of any place of an image with a face, or its mirror."""
    places = np.lib.stride_tricks.sliding_window_view(image, (FACE, FACE))
    squares = unit(places.reshape(-1, FACE * FACE))
    faces = unit(np.concatenate([faces, faces[:, :, ::-1]]).reshape(-1, FACE * FACE))
    return (squares @ faces.T).max()


def unit(rows):
    rows = rows - rows.mean(1, keepdims=True)
    return rows / np.maximum(np.linalg.norm(rows, axis=1, keepdims=True), 1e-12)


def test_the_photograph_is_as_large_as_its_patches():
    photo = astronaut()
    assert photo.shape == (75, 115)
    assert 0 <= photo.min() < photo.max() <= 1
    assert normalised(photo).shape == (75, 115, 1)


def test_the_trained_digits_are_shown_block_by_block():
    figure = of_digits()["digits"]
    assert len(figure.axes) == 4 * 3
