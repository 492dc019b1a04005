"""Fixtures of all tests."""

import collections
import contextlib
import random
import types

import numpy as np
import pytest
import tensorflow as tf
from micro import micro_config, random_tensors

from vit_tf import pipeline, proof
from vit_tf.reference import torch
from vit_tf.workbench import Workbench


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


@contextlib.contextmanager
def bundles_without_files():
    """Bundles have no signature that takes image files: half of a conversion's time.

    As where it is not known how images are prepared. For tests of something else.
    """
    unknown = types.SimpleNamespace(
        data_config=lambda data: None, problems=pipeline.data_config.problems
    )
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(pipeline, "data_config", unknown)
        yield


@pytest.fixture(scope="module")
def without_files():
    """As `bundles_without_files`, for a module."""
    with bundles_without_files():
        yield


@pytest.fixture
def without_files_here():
    """As `without_files`, for one test."""
    with bundles_without_files():
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
def kinds(request, tmp_path_factory):
    """A SavedModel that is models of several kinds in one, and these by name."""
    from kinds_in_one import KINDS, SOME, save

    every = request.config.getoption("every_kind")
    directory = tmp_path_factory.mktemp("kinds") / "saved_model"
    return directory, save(directory, KINDS if every else SOME)
