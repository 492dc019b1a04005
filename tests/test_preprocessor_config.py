"""transformers' preprocessing in timm's words."""

import json

import pytest

from vit_tf.checkpoints import CheckpointError
from vit_tf.checkpoints.preprocessor_config import facts_beside


def written(folder, stated, weights="model.safetensors"):
    (folder / "preprocessor_config.json").write_text(json.dumps(stated))
    return folder / weights


@pytest.mark.parametrize(
    ("stated", "expected"),
    [
        ({}, {}),
        ({"image_mean": [0.5], "image_std": 3}, {"mean": (0.5,)}),
        ({"resample": 3}, {"interpolation": "bicubic"}),
        ({"resample": 17, "size": "large"}, {}),
        ({"size": 224}, {"crop_pct": 1.0, "crop_mode": "squash"}),
        (
            {"size": {"shortest_edge": 256}, "crop_size": 224, "do_center_crop": True},
            {"crop_pct": 0.875, "crop_mode": "center"},
        ),
    ],
)
def test_what_is_stated_is_said_as_timm_says_it(stated, expected, tmp_path):
    assert facts_beside(written(tmp_path, stated)) == expected


def test_it_goes_with_the_weights_that_are_named_as_transformers_names_them(tmp_path):
    weights = written(tmp_path, {"size": 224}, "mine.safetensors")
    assert facts_beside(weights) == {}
    (tmp_path / "preprocessor_config.json").unlink()
    assert facts_beside(tmp_path / "model.safetensors") == {}


def test_a_file_of_another_kind_is_an_error(tmp_path):
    with pytest.raises(CheckpointError, match="list found; expected: a JSON object"):
        facts_beside(written(tmp_path, [1]))
