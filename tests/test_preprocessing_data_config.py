"""What timm's evaluation transform depends on, as timm resolves it."""

import dataclasses
import json

import PIL
import pytest

from tests.originals_pixels import geometries, preprocessings, pretrained_cfgs
from vit_tf.preprocessing import DataConfig
from vit_tf.preprocessing.data_config import PILLOWS, pillow_of
from vit_tf.reference import timm

CROP_PCT = "a number above 0, and no more than an edge's pixels, expected"


def test_every_pretrained_model_of_timm_is_described():
    for name, cfg in pretrained_cfgs().items():
        candidate = dataclasses.asdict(DataConfig.from_json(cfg))
        assert candidate.pop("pillow") == "13.0"
        resolved = timm.data.resolve_data_config({}, pretrained_cfg=cfg)
        for field in ("input_size", "mean", "std"):
            resolved[field] = tuple(resolved[field])
        assert candidate == resolved, name


def test_there_are_as_many_as_the_facts_say():
    assert len(pretrained_cfgs()) >= 1826
    assert len(preprocessings()) >= 173
    assert len(geometries()) >= 117


def test_what_is_not_said_has_timms_default():
    nothing = dict.fromkeys(("crop_pct", "crop_mode", "mean", "std", "interpolation"))
    assert DataConfig.from_json(nothing) == DataConfig() == DataConfig.from_json({})
    assert DataConfig.from_json({"crop_pct": 0, "mean": []}) == DataConfig()
    resolved = timm.data.resolve_data_config({}, pretrained_cfg={"num_classes": 1})
    assert DataConfig.from_json(resolved) == DataConfig()


def test_it_goes_through_json_and_back():
    for data in (*preprocessings(), DataConfig(pillow="9.5")):
        assert DataConfig.from_json(json.loads(json.dumps(data.to_json()))) == data


@pytest.mark.parametrize(
    ("field", "value", "expected"),
    [
        ("input_size", (4, 224, 224), "(1 or 3, height, width) expected"),
        ("input_size", (3, 224), "(1 or 3, height, width) expected"),
        ("input_size", (3, 0, 224), "(1 or 3, height, width) expected"),
        ("input_size", (3, 224.0, 224), "(1 or 3, height, width) expected"),
        ("input_size", 224, "(1 or 3, height, width) expected"),
        ("interpolation", "nearest", "('bilinear', 'bicubic', 'lanczos') expected"),
        ("mean", (0.5,), "as many numbers as channels, 3, expected"),
        ("mean", (0.5, float("nan"), 0.5), "as many numbers as channels, 3, expected"),
        ("mean", "abc", "as many numbers as channels, 3, expected"),
        ("std", (0.5,), "as many numbers as channels, 3, above 0, expected"),
        ("std", (0.5, 0.5, 0.0), "as many numbers as channels, 3, above 0, expected"),
        ("crop_pct", 224.1, CROP_PCT),
        ("crop_pct", 0, CROP_PCT),
        ("crop_pct", "0.9", CROP_PCT),
        ("crop_pct", float("nan"), CROP_PCT),
        ("crop_mode", None, "('center', 'squash', 'border') expected"),
        ("pillow", "13", f"one of {PILLOWS} expected"),
    ],
)
def test_what_is_wrong_is_named(field, value, expected):
    with pytest.raises(ValueError, match="expected") as error:
        DataConfig(**{field: value})
    found, _, rest = str(error.value).partition(" found, ")
    kept = tuple(value) if field == "mean" else value
    assert found == f"{field}={kept!r}"
    assert rest.endswith(expected)


def test_all_that_is_wrong_is_listed():
    with pytest.raises(ValueError, match="expected") as error:
        DataConfig(input_size=(1, 32, 32), crop_pct=-1, pillow="8")
    named = [line.partition("=")[0] for line in str(error.value).splitlines()]
    assert named == ["mean", "std", "crop_pct", "pillow"]


def test_lists_become_tuples():
    data = DataConfig([1, 32, 24], mean=[0.5], std=[0.25])
    assert (data.input_size, data.mean, data.std) == ((1, 32, 24), (0.5,), (0.25,))
    assert data.size == (32, 24)


@pytest.mark.parametrize(
    ("version", "entry"),
    [
        ("5.0.0", "9.5"),
        ("9.5.0", "9.5"),
        ("10.4.0", "9.5"),
        ("12.1.1", "9.5"),
        ("12.2.0", "12.2"),
        ("12.3.0.post1", "12.2"),
        ("13.0.0", "13.0"),
        ("13.1.0.dev0", "13.0"),
        ("20.0", "13.0"),
    ],
)
def test_a_version_of_pillow_has_the_order_of_the_last_change(version, entry):
    assert pillow_of(version) == entry


def test_the_installed_pillow_has_the_order_of_the_default():
    assert pillow_of(PIL.__version__) == DataConfig().pillow


def test_what_is_no_version_is_an_error():
    with pytest.raises(ValueError, match=r"'new' found, a version such as '13\.0\.0'"):
        pillow_of("new")
