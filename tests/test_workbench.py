"""Conversions that share what they can, against conversions that share nothing."""

import gc

import numpy as np
import pytest
import tensorflow as tf
from micro import micro_config, random_tensors, smallest_config

from vit_tf import pipeline, proof
from vit_tf.export import saved_model
from vit_tf.workbench import Workbench

pytestmark = pytest.mark.usefixtures("graphs_as_traced")


@pytest.fixture(autouse=True)
def what_is_frozen_stays(monkeypatch):
    """What earlier tests of this process left is not collected: it would take long."""
    monkeypatch.setattr(gc, "unfreeze", lambda: None)


KINDS = {
    "deit_tiny_distilled_patch16_224": {"drop_path_rate": 0.2, "proj_drop_rate": 0.1},
    "swinv2_tiny_window8_256": {"drop_path_rate": 0.0},
}


def files(directory):
    return {
        str(path.relative_to(directory)): path.read_bytes()
        for path in directory.rglob("*")
        if path.is_file()
    }


@pytest.mark.parametrize("name", KINDS)
def test_the_second_is_written_as_if_it_were_the_first(tmp_path, name):
    config = smallest_config(name, **KINDS[name])
    images = tf.constant(proof.random_images(config))
    bench = Workbench(most_parameters=1e9)
    for seed in (0, 1):
        model = bench.model(config, random_tensors(config, seed), "float32")
        bench.save(model, tmp_path / str(seed), None, None)
        loaded = bench.load(tmp_path / str(seed))
    saved_model.save(model, tmp_path / "alone")
    assert files(tmp_path / "1") == files(tmp_path / "alone")
    assert files(tmp_path / "1") != files(tmp_path / "0")
    np.testing.assert_array_equal(
        loaded(images), tf.saved_model.load(str(tmp_path / "1"))(images)
    )


def test_conversions_on_one_bench_are_what_they_are_alone(tmp_path):
    config, bench = micro_config(), Workbench(most_parameters=1e9)
    places = [tmp_path / folder / "micro" for folder in ("first", "second", "alone")]
    for place, seed, of in zip(places, (0, 1, 1), (bench, bench, None), strict=True):
        pipeline.convert(config, place, checkpoint=f"random:{seed}", bench=of)
    _, found, expected = map(files, places)
    assert found == expected


@pytest.mark.usefixtures("without_files_here")
def test_what_failed_leaves_nothing_to_the_next(tmp_path):
    config, bench = micro_config(), Workbench(most_parameters=1e9)

    def stop(step):
        if step == "read back what was written":
            raise RuntimeError(step)

    options = dict(bench=bench, formats=["saved_model", "weights_h5"])
    for place, seed in (("one/micro", 0), ("alone/micro", 2)):
        at = options if place.startswith("one") else options | {"bench": None}
        pipeline.convert(config, tmp_path / place, checkpoint=f"random:{seed}", **at)
    with pytest.raises(RuntimeError, match="read back"):
        pipeline.convert(
            config,
            tmp_path / "no/micro",
            checkpoint="random:1",
            progress=stop,
            **options,
        )
    pipeline.convert(config, tmp_path / "two/micro", checkpoint="random:2", **options)
    assert files(tmp_path / "two/micro") == files(tmp_path / "alone/micro")


def test_another_configuration_gets_a_model_of_its_own():
    bench = Workbench(most_parameters=1e9)
    config, wider = micro_config(), micro_config(embed_dim=36)
    first = bench.model(config, random_tensors(config), "float32")
    assert bench.model(config, random_tensors(config, 1), "float32") is first
    other = bench.model(wider, random_tensors(wider), "float32")
    assert other is not first
    assert other.embed_dim == 36
    assert bench.model(config, random_tensors(config), "float64") is not first


def test_a_model_that_is_too_large_is_not_kept():
    config = micro_config()
    bench = Workbench(most_parameters=1000)
    first = bench.model(config, random_tensors(config), "float32")
    assert bench.model(config, random_tensors(config), "float32") is not first


def test_a_program_of_another_model_is_refused(tmp_path):
    config, bench = micro_config(), Workbench(most_parameters=1e9)
    model = bench.model(config, random_tensors(config), "float32")
    for folder in "ab":
        bench.save(model, tmp_path / folder, None, None)
    bench.load(tmp_path / "a")
    (tmp_path / "b" / "saved_model.pb").write_bytes(b"")
    with pytest.raises(ValueError, match=r"saved_model\.pb is not the program"):
        bench.load(tmp_path / "b")
