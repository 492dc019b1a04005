"""What processes that run tests have, and the one that only hands them out has not."""

import gc
import os

WORKER = "PYTEST_XDIST_WORKER" in os.environ

if WORKER:
    # A worker for each core: more threads would only wait for each other. The processes
    # that tests start inherit this.
    for _variable in (
        "OMP_NUM_THREADS",
        "TF_NUM_INTEROP_THREADS",
        "TF_NUM_INTRAOP_THREADS",
    ):
        os.environ.setdefault(_variable, "1")


def pytest_addoption(parser):
    parser.addoption(
        "--every_kind",
        action="store_true",
        help="every parameter of tests that take long, not some (tests/some.py)",
    )


def pytest_configure(config):
    """Imports TensorFlow, torch and timm where tests run.

    Where they are handed out to workers, nobody could run one meanwhile.
    """
    config.addinivalue_line("markers", "every_kind: run with that option alone")
    if WORKER or not config.getoption("numprocesses", None):
        config.pluginmanager.import_plugin("common_fixtures")


def pytest_collection_modifyitems(config, items):
    """Of what `some.of` leaves out, there is no test but with `--every_kind`."""
    if not config.getoption("every_kind"):
        items[:] = [item for item in items if not item.get_closest_marker("every_kind")]


def pytest_collection_finish():
    """Modules and tests stay: the garbage collector need not go through them."""
    gc.freeze()
    gc.set_threshold(20_000, 20, 10)
