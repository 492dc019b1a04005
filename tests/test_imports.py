"""What an import costs beside what it gives."""

import contextlib
import gc
import sys

import pytest

from vit_tf.imports import hidden, uncollected

PACKAGE = "package_of_this_test"


@pytest.fixture
def package(tmp_path, monkeypatch):
    (tmp_path / f"{PACKAGE}.py").write_text("")
    monkeypatch.syspath_prepend(tmp_path)
    yield
    sys.modules.pop(PACKAGE, None)


@pytest.mark.usefixtures("package")
def test_what_is_hidden_is_there_afterwards():
    with hidden(PACKAGE), pytest.raises(ModuleNotFoundError, match=PACKAGE):
        __import__(PACKAGE)
    __import__(PACKAGE)
    with hidden(PACKAGE):  # too late
        __import__(PACKAGE)
    assert PACKAGE in sys.modules


@pytest.mark.parametrize("enabled", [True, False])
def test_the_collector_works_afterwards_as_before(enabled):
    before = gc.isenabled()
    try:
        (gc.enable if enabled else gc.disable)()
        with contextlib.suppress(ImportError), uncollected():
            within = gc.isenabled()
            raise ImportError
        assert not within
        assert gc.isenabled() == enabled
    finally:
        (gc.enable if before else gc.disable)()
