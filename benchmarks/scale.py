"""What 50,000 AugReg checkpoints take: measured for each architecture, then simulated.

    python benchmarks/scale.py --out=docs/scale.md
    python benchmarks/scale.py --architectures=Ti/16,S/32 --repeats=3
    python benchmarks/scale.py --checkpoints=50000 --cores=64 --memory=256

Of each architecture of the release, one file of random weights is written as the
release has them: float32 in an `.npz`, under the names of the JAX originals, for images
of 224 pixels and 1,000 classes. `convert_all_models.py` converts it `--repeats` times
in one process, on one thread: the first conversion builds and traces, the others find
that done, unless the model is too large to be kept.

Measured are CPU seconds, which what else runs on the machine hardly changes, the peak
of memory, sizes, and what a process takes beside its conversions, mostly imports.
Simulated is the Ray engine on one machine, by its own rules (`simulation.py`).

The simulation is held against the engine itself, on the cores of this machine, with the
first architecture.
"""

import dataclasses
import itertools
import json
import math
import os
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Iterable, Sequence
from pathlib import Path

import measure
import numpy as np
from absl import app, flags
from simulation import Kind, simulated
from tqdm import tqdm

from vit_tf import quiet
from vit_tf.augreg.checkpoint import MODELS
from vit_tf.batch import estimate
from vit_tf.batch.jobs import Job

ROOT = Path(__file__).parent.parent
sys.path.insert(0, str(ROOT / "tests"))

import flax_vit  # noqa: E402 - the release's names and shapes

HELD = 16  # checkpoints with which the simulation is held against the engine
RESNET = (256, 512, 1024, 2048)  # channels of its blocks
THREADS = ("OMP_NUM_THREADS", "TF_NUM_INTRAOP_THREADS", "TF_NUM_INTEROP_THREADS")
# What the page says of its three parts.
MEASURED = """\
Random weights in files as the AugReg release has them: float32 in an `.npz`, under the
names of the JAX originals, for 224 pixels and 1,000 classes. So a conversion is all of
it: names translated, every layer compared with timm's, how far timm's function is from
JAX's, the SavedModel written, hashed, and read back. "first" is the first of its kind
in a process, "again" the next, which finds model and graphs ready. "declared" is the
memory that the engine sets aside. Files are in the system's cache: what a processor
does to read and write is in these seconds, waiting for a disk is not.

```"""
SIMULATED = """\
An extrapolation: no such machine was at hand. By the engine's own rules a job begins
where there is a core, and the memory that it declares; the manifest is sorted by
architecture. Assumed is that a core there, all others busy, is as fast as one here, and
that neither the one driver nor storage is waited for. A job that takes more than is
declared is ended, and tried again with twice as much; what was read from files, as
TensorFlow's libraries, counts in a peak, and not there. No second try is simulated."""
STORAGE = """\
Not in the hours above, which hold where storage keeps up: what is read comes over the
network where the checkpoints are in a bucket, each before its conversion begins, and
what is written is brought to the disk (fsync) before a bundle is moved to its place."""
_ARCHITECTURES = flags.DEFINE_list(
    "architectures", [*MODELS], "the release's names of those that are measured"
)
_CHECKPOINTS = flags.DEFINE_integer("checkpoints", 50_000, "how many", lower_bound=1)
_CORES = flags.DEFINE_integer("cores", 64, "of the machine", lower_bound=1)
_MEMORY = flags.DEFINE_float("memory", 256, "GB of the machine", lower_bound=1)
_REPEATS = flags.DEFINE_integer("repeats", 2, "conversions of each", lower_bound=2)
_OUT = flags.DEFINE_string("out", "", "a file for the page that is printed")


def timms(name: str) -> str:
    """timm's name of an architecture of the release."""
    return f"{MODELS[name]}_224"


def write_checkpoint(name: str, path: Path) -> None:
    """A file of random weights, as those of the release are."""
    from vit_tf import get_config

    model = get_config(timms(name)).model
    kind = flax_vit.Kind(
        image=model.img_size,
        patch=model.patch_size,
        width=model.embed_dim,
        depth=model.depth,
        heads=model.num_heads,
        hidden=4 * model.embed_dim,
        classes=model.num_classes,
        units=model.get("backbone_layers"),
        channels=RESNET,
    )
    np.savez(path, **flax_vit.random_parameters(kind))


def convert(
    name: str, path: Path, out: Path, count: int, *options: str
) -> tuple[float, list[dict]]:
    """Converts one file many times: CPU seconds of all, the batch's table."""
    manifest = out.with_suffix(".jsonl")
    rows = (
        {"name": f"{i:04}", "checkpoint": str(path), "model": timms(name)}
        for i in range(count)
    )
    manifest.write_text("".join(json.dumps(row) + "\n" for row in rows))
    command = [sys.executable, ROOT / "convert_all_models.py", *options]
    before = measure.cpu_of_children()
    subprocess.run(
        [*command, f"--manifest={manifest}", f"--out={out}"],
        env=os.environ | dict.fromkeys(THREADS, "1"),
        check=True,
        stdout=subprocess.DEVNULL,
    )
    cpu = measure.cpu_of_children() - before
    return cpu, json.loads((out / "summary.json").read_text())


def measured(name: str, repeats: int, folder: Path) -> Kind:
    path = folder / "checkpoint.npz"
    write_checkpoint(name, path)
    cpu, rows = convert(name, path, folder / "out", repeats)
    taken = [row["cpu_seconds"] for row in rows]
    return Kind(
        name,
        start=cpu - sum(taken),
        first=taken[0],
        again=statistics.median(taken[1:]),
        peak=max(row["peak_bytes"] for row in rows),
        declared=estimate.memory(Job("one", str(path), timms(name))),
        source=path.stat().st_size,
        bundle=rows[0]["bytes"],
    )


def held_against_the_engine(kind: Kind, folder: Path) -> tuple[float, float]:
    """CPU seconds of conversions by the Ray engine on this machine, and simulated."""
    path = folder / "checkpoint.npz"
    write_checkpoint(kind.name, path)
    options = "--engine=ray", f"--workers={measure.CORES}"
    _, rows = convert(kind.name, path, folder / "held", HELD, *options)
    alone = dataclasses.replace(kind, start=0.0)
    expected = simulated([alone] * HELD, measure.CORES, math.inf, _calls())
    return sum(row["cpu_seconds"] for row in rows), expected.busy


def _calls() -> int:
    from vit_tf.batch import ray_engine

    return ray_engine.WORKER_CALLS


def page(
    kinds: Sequence[Kind], held: tuple[float, float], conditions: Iterable[str]
) -> str:
    """All that was found, in Markdown."""
    count, cores, memory = _CHECKPOINTS.value, _CORES.value, _MEMORY.value
    each = [count // len(kinds) + (i < count % len(kinds)) for i in range(len(kinds))]
    parts = list(zip(kinds, each, strict=True))
    jobs = itertools.chain(*(itertools.repeat(kind, n) for kind, n in parts))
    found = simulated(jobs, cores, memory * 1e9, _calls())
    read = sum(n * kind.source for kind, n in parts)
    written = sum(n * kind.bundle for kind, n in parts)
    command = " ".join(["python benchmarks/scale.py", *sys.argv[1:]])
    said = "\n".join(f"* {line}" for line in conditions)
    return f"""# {count:,} checkpoints on {cores} cores

Printed by `{command}`.

{said}

## Measured here: one checkpoint, on one thread

{MEASURED}
{_table(kinds)}
```

A process takes {statistics.median(kind.start for kind in kinds):.1f} CPU seconds beside
its conversions, mostly for imports; the engine has it do {_calls()} of them. A model of
more than {_kept():,.0f} parameters is not kept for the next: "again" builds it, too.

## Simulated from that: {cores} cores, {memory:,.0f} GB

{SIMULATED}

* **{found.seconds / 3600:,.1f} hours** for {count:,} checkpoints, as many of each
  architecture in the table, {len(kinds)} of the release's {len(MODELS)}:
  {found.busy / 3600:,.0f} core-hours, in which {found.busy / found.seconds / cores:.0%}
  of the cores' time is used
* at most {found.at_once} at once, which declare {found.declared / 1e9:,.0f} GB; all at
  their peaks, they use {found.peak / 1e9:,.0f} GB

{HELD} of {kinds[0].name} by `--engine=ray` with {measure.CORES} processes took
{held[0]:.1f} CPU seconds of conversions on this machine; simulated, {held[1]:.1f}.

## Apart from that: reading, writing, the network

{STORAGE}

* read: {read / 1e12:.2f} TB, {read / found.seconds / 1e6:,.0f} MB/s
* written: {written / 1e12:.2f} TB, {written / found.seconds / 1e6:,.0f} MB/s
"""


def _kept() -> float:
    from vit_tf.batch import work

    return work.KEPT


def _table(kinds: Iterable[Kind]) -> str:
    header = ("", "first, CPU s", "again", "peak GB", "declared", "file GB", "bundle")
    sizes = ("peak", "declared", "source", "bundle")
    rows = [
        (k.name, k.first, k.again, *(getattr(k, size) / 1e9 for size in sizes))
        for k in kinds
    ]
    return measure.table(header, rows)


def main(argv: list[str]) -> None:
    if unknown := set(_ARCHITECTURES.value) - MODELS.keys():
        found = ", ".join(sorted(unknown))
        raise app.UsageError(f"{found} found; expected: {', '.join(MODELS)}")
    quiet.import_tensorflow()
    kinds, conditions = [], []
    with measure.conditions(conditions.append):
        for name in tqdm(_ARCHITECTURES.value, desc="architectures", leave=False):
            with tempfile.TemporaryDirectory() as folder:
                kinds.append(measured(name, _REPEATS.value, Path(folder)))
        with tempfile.TemporaryDirectory() as folder:
            held = held_against_the_engine(kinds[0], Path(folder))
    text = page(kinds, held, conditions)
    print(text)
    if _OUT.value:
        Path(_OUT.value).write_text(text)


if __name__ == "__main__":
    app.run(main)
