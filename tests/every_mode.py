"""Every image, by every preprocessing of timm, in every way to run it.

    python -m pytest tests/every_mode.py --numprocesses=2

It takes as long as all the others together, so it is run by name. Among those,
`test_preprocessing_pixels.py` has images of a quarter of the sizes by a third of the
preprocessings, and `test_preprocessing_modes.py` one of each size in each way, and
every image in a graph.
"""

import pytest

from tests.images import samples
from tests.originals_pixels import geometries, label
from tests.test_preprocessing_modes import (
    assert_a_saved_model_is_the_same,
    differing,
    eager,
    in_graph,
    in_tf_data,
    pixels_in_a_ragged_batch,
)

PARTS = 13


@pytest.mark.parametrize("part", range(PARTS))
def test_every_image_is_the_same_by_every_preprocessing(part, tmp_path):
    chosen = geometries()[part::PARTS]
    found = {
        (label(data), way.__name__): differing(way, data, samples())
        for data in chosen
        for way in (eager, in_graph, in_tf_data, pixels_in_a_ragged_batch)
    }
    assert {key: names for key, names in found.items() if names} == {}
    assert_a_saved_model_is_the_same(chosen, tmp_path)
