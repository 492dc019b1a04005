"""Images of all sizes by timm's preprocessings of all kinds: not one value differs.

An image of each size for four preprocessings, and every third of those; `every_mode.py`
has every image by every one.
"""

import numpy as np
import pytest
import tensorflow as tf

from tests.images import is_of_four_inks, samples
from tests.originals_pixels import (
    expected,
    fields,
    filled,
    geometries,
    is_long,
    label,
    normalised,
    of_each_size,
    pixels,
    preprocessings,
    refused,
    seen,
)
from vit_tf.preprocessing import DataConfig
from vit_tf.preprocessing.transform import crop, normalize, transform

IMAGE = tf.TensorSpec((None, None, 3), tf.uint8)
PARTS = 4  # of the sizes, by turns


def some_geometries() -> list[DataConfig]:
    """Every third, and one of each kind."""
    kinds = {
        (data.interpolation, data.crop_mode, data.size[0] == data.size[1]): data
        for data in geometries()
    }
    thirds = geometries()[::3]
    return [*thirds, *(data for data in kinds.values() if data not in thirds)]


@pytest.mark.parametrize(
    "number", range(len(some_geometries())), ids=lambda i: label(some_geometries()[i])
)
def test_images_are_resized_and_cropped_as_by_timm(number):
    """To bytes, from pixels, of which `test_preprocessing_decode.py` has every file's;
    `test_every_byte_is_normalised` holds what becomes of each.
    """
    data = some_geometries()[number]
    ours = tf.function(lambda image: crop(image, data), input_signature=[IMAGE])
    index, part = divmod(number, PARTS)
    images = of_each_size(index, samples())[part::PARTS]
    chosen = [sample for sample in images if not refused(sample, data)]
    differing = [
        sample.name
        for sample in chosen
        if not np.array_equal(ours(pixels(sample)), seen(sample, data))
    ]
    assert chosen
    assert differing == []


def test_what_pillow_refuses_to_resize_is_refused():
    """Where an edge would have no pixel; in a graph, and traced for this very size."""
    pairs = [(s, d) for s in samples() for d in geometries() if refused(s, d)]
    assert pairs
    for sample, data in pairs:
        traced = tf.function(lambda x, data=data: crop(x, data))
        for image in (sample.encoded, pixels(sample)):
            with pytest.raises(tf.errors.InvalidArgumentError, match="has no pixel"):
                traced(tf.constant(image))


def test_few_images_are_too_long_for_pillow():
    """All are resized by itself where both edges are given, all but extremes else."""
    for data in geometries():
        long = [sample.name for sample in samples() if is_long(sample, data)]
        assert all("extreme" in name for name in long)
        assert data.crop_mode == "center" or not long


@pytest.mark.parametrize("traced", [False, True], ids=["eager", "graph"])
def test_every_byte_is_normalised(traced):
    every = np.arange(256, dtype=np.uint8).repeat(3).reshape(16, 16, 3)
    for data in preprocessings():
        ours = tf.function(normalize) if traced else normalize
        reference = normalised(every, data)
        candidate = ours(tf.constant(every), data).numpy()
        assert np.array_equal(candidate.view(np.int32), reference.view(np.int32)), data


def test_every_geometry_is_among_those_that_are_compared():
    """And for every mean where it is filled with one."""
    compared = {(*fields(data), filled(data)) for data in geometries()}
    assert compared == {(*fields(data), filled(data)) for data in preprocessings()}


@pytest.mark.parametrize("part", range(6))
def test_every_preprocessing_gives_the_same_numbers(part):
    """From files to float32, of some images."""
    some = [sample for sample in samples() if "extreme" not in sample.name][::150]
    assert not any(map(is_of_four_inks, some))
    for data in preprocessings()[part::6]:
        for sample in some:
            candidate = transform(tf.constant(sample.encoded), data).numpy()
            reference = expected(sample, data)
            same = np.array_equal(candidate.view(np.int32), reference.view(np.int32))
            assert same, (sample.name, data)
