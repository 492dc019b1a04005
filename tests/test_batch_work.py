"""One job of a batch."""

import dataclasses
import json

import numpy as np
import pytest

from vit_tf.batch import work
from vit_tf.batch.jobs import Job

MICRO = tuple(
    {
        "model.img_size": 32,
        "model.embed_dim": 24,
        "model.depth": 2,
        "model.num_heads": 3,
        "model.num_classes": 7,
        "model.in_chans": 4,
    }.items()
)
JOB = Job("a/b", "random:0", "deit_tiny_patch16_224", overrides=MICRO)


def test_a_job_is_converted_and_what_it_cost_is_known(tmp_path):
    facts = work.convert(JOB, tmp_path)
    assert json.loads(json.dumps(facts)) == facts
    assert facts["architecture"] == "deit_tiny_patch16_224"
    assert facts["tensors"] == 32
    files = [file for file in (tmp_path / "a" / "b").rglob("*") if file.is_file()]
    assert facts["bytes"] == sum(file.stat().st_size for file in files)
    assert 0 < facts["parity"]["layers in float32"] < 1e-5
    assert facts["seconds"] > 0
    assert facts["cpu_seconds"] > 0
    assert facts["peak_bytes"] > 100e6


def test_the_peak_is_that_of_the_job_alone():
    with work._peak_memory() as first:
        np.ones(100_000_000).sum()
    with work._peak_memory() as second:
        pass
    assert first[0] - second[0] > 700e6


@pytest.mark.parametrize(
    ("overrides", "said"),
    [
        ((("model.deptz", 3),), r"override model.deptz=3: there is no such field"),
        ((("model.depth.x", 3),), r"override model.depth.x=3: there is no such field"),
        ((("model", 3),), r"override model=3: "),
        ((("model.depth", "x"),), r"override model.depth='x': .*int"),
        (
            (("a.b", 3), ("model.depth", "x")),
            r"override a.b=3: there is .*; override model.dep",
        ),
    ],
)
def test_every_override_that_does_not_fit_is_named(overrides, said):
    with pytest.raises(ValueError, match=said):
        work.configured(dataclasses.replace(JOB, overrides=overrides))


def test_overrides_are_those_of_the_configuration():
    config = work.configured(JOB)
    assert config.model.depth == 2
    assert config.architecture == "deit_tiny_patch16_224"
