"""Micro models: the widths do not matter where the options are the same."""

import collections
import contextlib
import gc
import os
import random

if "PYTEST_XDIST_WORKER" in os.environ:
    # A worker for each core: more threads would only wait for each other. The processes
    # that tests start inherit this.
    for _variable in (
        "OMP_NUM_THREADS",
        "TF_NUM_INTEROP_THREADS",
        "TF_NUM_INTRAOP_THREADS",
    ):
        os.environ.setdefault(_variable, "1")

import numpy as np
import pytest
import tensorflow as tf

import vit_tf
from vit_tf import models, pipeline, proof, source
from vit_tf.checkpoints.random import RandomTensors
from vit_tf.reference import torch
from vit_tf.workbench import Workbench

MICRO = dict(img_size=32, embed_dim=24, depth=2, num_heads=3, num_classes=7)


def micro_config(name: str = "deit_tiny_patch16_224", **arguments):
    """A configuration of `name` that is built and compared within a second."""
    return vit_tf.get_config(name, **{**MICRO, **arguments})


def smallest_config(name: str, **arguments):
    """`models.small_config`, with two blocks only in the first of several stages.

    For tests of what is done with a model: what its later stages compute is compared
    in `test_variants.py`.
    """
    model = models.small_config(name).model
    stages = {
        argument: (2, 1, 1, 1)[: len(model[argument])]
        for argument in ("depths", "backbone_layers")
        if model.get(argument)
    }
    return models.small_config(name, **{**stages, **arguments})


def random_tensors(config, seed: int = 0) -> dict[str, np.ndarray]:
    """Every parameter of the configured model, randomised."""
    return dict(RandomTensors(source.parameter_shapes(config), seed))


@pytest.fixture(autouse=True)
def the_same_draws_each_time():
    """Of Python, from which Keras draws its seeds, NumPy and torch.

    Not of TensorFlow itself, which would throw away the graphs that it has made ready.
    """
    random.seed(0)
    np.random.seed(0)
    torch.manual_seed(0)


@contextlib.contextmanager
def _as_traced():
    option, options = "disable_meta_optimizer", tf.config.optimizer
    before = options.get_experimental_options().get(option, False)
    options.set_experimental_options({option: True})
    try:
        yield
    finally:
        options.set_experimental_options({option: before})


@pytest.fixture(scope="module")
def graphs_as_traced():
    """TensorFlow runs graphs without rewriting them: a quarter of a conversion's time.

    For tests of what is read, said and written, and not of what a graph computes.
    """
    with _as_traced():
        yield


@pytest.fixture
def graph_as_traced():
    """As `graphs_as_traced`, for one test."""
    with _as_traced():
        yield


class _Benches(Workbench):
    """A bench for each configuration: conversions of tests are of several, by turns."""

    def __init__(self):
        self._benches = collections.defaultdict(lambda: Workbench(most_parameters=1e7))

    def model(self, config, tensors, dtype):
        key = (config.architecture, config.model.to_json(), dtype)
        self._at = self._benches[key]
        return self._at.model(config, tensors, dtype)

    def save(self, *arguments):
        self._at.save(*arguments)

    def collect(self):
        self._at.collect()

    def load(self, directory):
        return self._at.load(directory)


_BENCHES = _Benches()


@pytest.fixture(scope="module")
def shared_bench(graphs_as_traced):
    """Conversions build and trace a model once for all tests of its configuration.

    For tests of what becomes of a checkpoint: `test_workbench.py` shows that the bundle
    is, byte for byte, that of a conversion alone.
    """
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(pipeline, "Workbench", lambda: _BENCHES)
        yield


@pytest.fixture
def config():
    return micro_config()


@pytest.fixture
def tensors(config):
    return random_tensors(config)


@pytest.fixture
def model(config, tensors):
    return proof.filled(config, tensors, "float32")


@pytest.fixture(scope="session")
def every_kind(tmp_path_factory):
    """A SavedModel that is one model of every kind, and these by name."""
    from kinds_in_one import save

    directory = tmp_path_factory.mktemp("every_kind") / "saved_model"
    return directory, save(directory)


def pytest_collection_finish():
    """Modules and tests stay: the garbage collector need not go through them."""
    gc.freeze()
    gc.set_threshold(20_000, 20, 10)
