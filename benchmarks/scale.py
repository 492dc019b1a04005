"""What 50,000 checkpoints would take: measured for each kind, then simulated.

    python benchmarks/scale.py
    python benchmarks/scale.py --checkpoints=50000 --cores=64

Of each architecture of the AugReg release, `--repeats` checkpoints of random
weights are converted by `convert_all_models.py`, on one thread: the first builds and
traces, the others find that done, unless the model is too large to be kept. Measured
are CPU seconds, peak memory and the bundle's size, and what a process takes beside its
conversions, mostly imports.

Simulated is the Ray engine: so many processes with a core each take the next checkpoint
as soon as they are free, in the order of a manifest that is sorted by model, as many of
each architecture; a process is replaced after as many conversions as the engine says.
Reading and writing are not simulated: the rates are given that they need.

The simulation is held against the engine itself: `--cores` and `--checkpoints` of this
machine, with the smallest architecture.
"""

import dataclasses
import heapq
import itertools
import json
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterable, Sequence
from pathlib import Path

import measure
from absl import app, flags
from tqdm import tqdm

from vit_tf import quiet

ROOT = Path(__file__).parent.parent
SMALLEST = "Ti/16"
HELD = 24  # checkpoints with which the simulation is held against the engine
THREADS = ("OMP_NUM_THREADS", "TF_NUM_INTRAOP_THREADS", "TF_NUM_INTEROP_THREADS")
_CHECKPOINTS = flags.DEFINE_integer("checkpoints", 50_000, "how many", lower_bound=1)
_CORES = flags.DEFINE_integer("cores", 64, "processes, a core each", lower_bound=1)
_REPEATS = flags.DEFINE_integer("repeats", 4, "conversions of each", lower_bound=3)


@dataclasses.dataclass(frozen=True)
class Kind:
    """What converting one architecture takes, on one thread.

    Attributes:
        name: The release's name of it.
        start: CPU seconds of a process beside its conversions.
        first: CPU seconds of the first conversion.
        again: CPU seconds of one after it.
        peak: The most memory in use, in bytes.
        source: Bytes of the checkpoint.
        bundle: Bytes of what is written.
    """

    name: str
    start: float
    first: float
    again: float
    peak: int
    source: int
    bundle: int


def timms(name: str) -> str:
    """timm's name of an architecture of the release."""
    from vit_tf.augreg import checkpoint

    return f"{checkpoint.MODELS[name]}_224"


def write_checkpoint(model: str, path: Path) -> None:
    """An `.npz` of random weights for timm's `model`."""
    quiet.import_tensorflow()
    import numpy as np

    from vit_tf import get_config
    from vit_tf.source import read

    np.savez(path, **dict(read(get_config(model), "random:0").tensors))


def convert(
    model: str, path: Path, out: Path, count: int, *options: str
) -> tuple[float, float, list[dict]]:
    """Converts one file many times: seconds, CPU seconds, the batch's table."""
    manifest = out.with_suffix(".jsonl")
    rows = (
        {"name": f"{i:04}", "checkpoint": str(path), "model": model}
        for i in range(count)
    )
    manifest.write_text("".join(json.dumps(row) + "\n" for row in rows))
    command = [sys.executable, ROOT / "convert_all_models.py", *options]
    before, begin = _cpu_of_children(), time.monotonic()
    subprocess.run(
        [*command, f"--manifest={manifest}", f"--out={out}"],
        env=os.environ | dict.fromkeys(THREADS, "1"),
        check=True,
        capture_output=True,
    )
    seconds, cpu = time.monotonic() - begin, _cpu_of_children() - before
    return seconds, cpu, json.loads((out / "summary.json").read_text())


def measured(name: str, repeats: int, folder: Path) -> Kind:
    path = folder / "checkpoint.npz"
    measure.in_fresh_process(write_checkpoint, timms(name), path)
    _, cpu, rows = convert(timms(name), path, folder / "out", repeats)
    taken = [row["cpu_seconds"] for row in rows]
    return Kind(
        name,
        start=cpu - sum(taken),
        first=taken[0],
        again=statistics.median(taken[1:]),
        peak=max(row["peak_bytes"] for row in rows),
        source=path.stat().st_size,
        bundle=rows[0]["bytes"],
    )


def simulated(jobs: Iterable[Kind], processes: int, calls: int) -> float:
    """Seconds until all jobs are done by processes that each have a core.

    Args:
        jobs: In the order in which they are taken.
        processes: How many there are.
        calls: After how many jobs another takes a process's place.
    """
    free: list[tuple[float, int, int, str]] = [
        (0.0, i, 0, "") for i in range(processes)
    ]
    for job in jobs:
        at, process, done, last = heapq.heappop(free)
        if done % calls == 0:
            at, last = at + job.start, ""
        at += job.again if job.name == last else job.first
        heapq.heappush(free, (at, process, done + 1, job.name))
    return max(at for at, *_ in free)


def held_against_the_engine(kind: Kind, folder: Path) -> tuple[float, float]:
    """Seconds of the Ray engine on this machine, and of its simulation."""
    path = folder / "checkpoint.npz"
    model = timms(kind.name)
    measure.in_fresh_process(write_checkpoint, model, path)
    workers = measure.CORES
    options = "--engine=ray", f"--workers={workers}"
    seconds, _, _ = convert(model, path, folder / "held", HELD, *options)
    return seconds, simulated([kind] * HELD, workers, _calls())


def _calls() -> int:
    from vit_tf.batch import ray_engine

    return ray_engine.WORKER_CALLS


def _cpu_of_children() -> float:
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    return usage.ru_utime + usage.ru_stime


def report(kinds: Sequence[Kind], checkpoints: int, cores: int) -> str:
    """The table, and what all of them take."""
    rows = [
        (k.name, k.first, k.again, k.peak / 1e9, k.source / 1e9, k.bundle / 1e9)
        for k in kinds
    ]
    header = ("", "first, CPU s", "again, CPU s", "peak GB", "file GB", "bundle GB")
    shares = [checkpoints // len(kinds)] * len(kinds)
    shares[0] += checkpoints - sum(shares)
    jobs = itertools.chain.from_iterable(
        itertools.repeat(kind, share) for kind, share in zip(kinds, shares, strict=True)
    )
    seconds = simulated(jobs, cores, _calls())
    parts = list(zip(kinds, shares, strict=True))
    read, written = (
        sum(share * getattr(kind, size) for kind, share in parts)
        for size in ("source", "bundle")
    )
    memory = cores * max(kind.peak for kind in kinds)
    return f"""{measure.table(header, rows)}

a process beside its conversions: {statistics.median(k.start for k in kinds):.2f} CPU s
{checkpoints:,} checkpoints, {cores} cores: {seconds / 3600:.1f} hours, \
{sum(k.again * n for k, n in parts) / 3600:,.0f} core-hours of conversions
read {read / 1e12:.2f} TB ({read / seconds / 1e6:,.0f} MB/s), \
written {written / 1e12:.2f} TB ({written / seconds / 1e6:,.0f} MB/s)
memory where all convert the largest at once: {memory / 1e9:,.0f} GB"""


def main(argv: list[str]) -> None:
    from vit_tf.augreg.checkpoint import MODELS

    kinds = []
    with measure.conditions():
        for name in tqdm(MODELS, desc="architectures", leave=False):
            with tempfile.TemporaryDirectory() as folder:
                kinds.append(measured(name, _REPEATS.value, Path(folder)))
        (smallest,) = (kind for kind in kinds if kind.name == SMALLEST)
        with tempfile.TemporaryDirectory() as folder:
            seconds, expected = held_against_the_engine(smallest, Path(folder))
    print()
    print(report(kinds, _CHECKPOINTS.value, _CORES.value))
    print(
        f"the Ray engine with {measure.CORES} processes here, {HELD} of {SMALLEST}: "
        f"{seconds:.1f} s, simulated {expected:.1f} s, a ratio of "
        f"{seconds / expected:.2f}"
    )


if __name__ == "__main__":
    app.run(main)
