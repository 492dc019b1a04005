"""The Ray engine, as benchmarks/scale.py simulates it."""

import dataclasses
import math
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent.parent / "benchmarks"))

from simulation import Kind, simulated

SMALL = Kind("small", 5, first=4, again=2, peak=8, declared=10, source=1, bundle=1)
LARGE = dataclasses.replace(SMALL, name="large", declared=60)


def test_a_process_begins_once_and_builds_once():
    found = simulated([SMALL] * 4, cores=2, memory=math.inf, calls=32)
    assert (found.seconds, found.busy) == (5 + 4 + 2, 2 * (5 + 4 + 2))
    assert (found.at_once, found.peak, found.declared) == (2, 16, 20)


def test_a_process_is_replaced_after_so_many_jobs():
    found = simulated([SMALL] * 4, cores=1, memory=math.inf, calls=2)
    assert found.seconds == 2 * (5 + 4 + 2)


def test_another_model_is_built_anew():
    kinds = [SMALL, LARGE] * 2
    assert simulated(kinds, cores=1, memory=math.inf, calls=32).seconds == 5 + 4 * 4


def test_no_more_run_at_once_than_there_is_memory_for():
    found = simulated([LARGE] * 4, cores=4, memory=125, calls=32)
    assert (found.at_once, found.declared) == (2, 120)
    assert simulated([LARGE] * 2, cores=4, memory=30, calls=32).declared == 30


def test_where_a_job_is_overtaken_none_is_given_before_it_has_begun():
    found = simulated([SMALL, SMALL, LARGE, SMALL, SMALL], 3, memory=60, calls=32)
    # two to 9, the third overtakes it to 11, it ends at 15, and then the last begins
    assert found.seconds == 15 + 4
