"""One job of a batch: its conversion, what that came to, and what it cost."""

import functools
import gc
import importlib
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from ml_collections import ConfigDict

from vit_tf import pipeline
from vit_tf.batch.jobs import Job
from vit_tf.batch.limits import LimitError, status_bytes
from vit_tf.find_config import find_config
from vit_tf.parity import Report
from vit_tf.workbench import Workbench

KEPT = 100e6  # parameters: a model of so many is kept for the next job, no larger one
_FORGET_PEAK = "5"  # what Linux takes for "the peak is what is in use now"


def convert(job: Job, directory: Path) -> dict[str, Any]:
    """Converts what a job names, to a bundle below `directory`.

    Returns:
        What there is to know of it, as JSON holds it: "architecture", "tensors",
        "parameters", "bytes" (of all files), "parity" (title -> the largest relative
        error), "seconds", "cpu_seconds", and "peak_bytes" (of memory; None where the
        system does not tell).

    Raises:
        As `vit_tf.convert`; and ValueError for overrides that do not fit.
    """
    gc.collect()  # what the job before has left
    started, cpu = time.perf_counter(), time.process_time()
    with _peak_memory() as peak:
        config = configured(job)
        conversion = _converted(job, config, directory)
    return {
        "architecture": config.architecture,
        "tensors": conversion.source["tensors"],
        "parameters": conversion.source["parameters"],
        "bytes": sum(conversion.files.values()),
        "parity": {r.title: _worst(r) for r in conversion.reports},
        "seconds": time.perf_counter() - started,
        "cpu_seconds": time.process_time() - cpu,
        "peak_bytes": peak[0],
    }


def _converted(job: Job, config: ConfigDict, directory: Path) -> pipeline.Conversion:
    try:
        return pipeline.convert(
            config,
            directory / job.name,
            checkpoint=job.checkpoint,
            checkpoint_key=job.checkpoint_key,
            dialect=job.dialect,
            formats=job.formats,
            bench=_bench(),
        )
    except LimitError:  # at some point of its work: what is kept may be half made
        _bench.cache_clear()
        raise


def configured(job: Job) -> ConfigDict:
    """The configuration of a job's model, with what the job changes in it.

    Raises:
        As `vit_tf.find_config.find_config`; ValueError listing every override that is
            no field, or no value of one.
    """
    family, variant = find_config(
        job.model,
        job.checkpoint,
        checkpoint_key=job.checkpoint_key,
        dialect=job.dialect,
    )
    module = importlib.import_module(f"vit_tf.configs.{family}")
    config = module.get_config(variant)
    problems = []
    for field, value in job.overrides:
        try:
            _set(config, field, value)
        except (TypeError, ValueError) as error:
            problems.append(f"override {field}={value!r}: {error}")
    if problems:
        raise ValueError("; ".join(problems))
    return config


def _set(config: ConfigDict, field: str, value: Any) -> None:
    *path, last = field.split(".")
    for name in path:
        config = config.get(name) if isinstance(config, ConfigDict) else None
    if not isinstance(config, ConfigDict) or last not in config:
        raise ValueError("there is no such field")
    config[last] = value


@functools.cache
def _bench() -> Workbench:
    """That of this process: its jobs come one after the other."""
    return Workbench(KEPT)


def _worst(report: Report) -> float:
    return report.worst.relative


@contextmanager
def _peak_memory() -> Iterator[list[int | None]]:
    """Yields a list, in which the most memory in use within it is found afterwards."""
    found: list[int | None] = [None]
    forgotten = _forget_peak()
    yield found
    if forgotten:
        found[0] = status_bytes("VmHWM")


def _forget_peak() -> bool:
    try:
        Path("/proc/self/clear_refs").write_text(_FORGET_PEAK)
    except OSError:  # no Linux, or not allowed
        return False
    return True
