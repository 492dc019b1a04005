"""Time and peak memory of a conversion, step by step, and the floor beside them.

    python benchmarks/conversion.py
    python benchmarks/conversion.py --model=vit_tiny_patch16_224 --repeats=1
    python benchmarks/conversion.py --container=pth

A checkpoint with random weights is written to a temporary folder. Then, in turn and
`--repeats` times each, it is copied (the floor), converted with parity and converted
without. Every figure is the median over the repeats; so is every total, which need not
be the sum of the medians above it.

A conversion runs in a fresh process. The steps are those that `convert` names to its
`progress`, each lasting until the next begins, the last until `convert` returns;
"imports" is what lies between the start of the process and the first of them. Peak
memory is the process's resident memory, and so includes the pages of the mapped
checkpoint; the mark is reset at every step.

Beside it stands what TensorFlow alone takes for the same tensors, without a model, a
graph or a comparison: to hold them in its memory, to save and to restore them with its
own operations (SaveV2, RestoreV2). A conversion that reads back what it wrote cannot
take less.

The floor is a plain copy of the checkpoint in chunks, and the fsync of the copy. What
a conversion writes is left to the system to bring to the disk, as `cp` leaves it.
Before each measurement all earlier writes are brought there (`os.sync`), so that none
pays for another's. The checkpoint was just written: it is in the page cache for all.
"""

import itertools
import os
import shutil
import statistics
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

import measure
from absl import app, flags
from peak_memory import PeakMemory
from tqdm import tqdm

from vit_tf import quiet

GB = 1e9
CHUNK = 16 << 20  # bytes
CONVERT = "all but imports"
TOTAL = "total"
IMPORTS, READ = "imports", "read the checkpoint"
FILL, WRITE, READ_BACK = (  # steps of a conversion that TensorFlow alone has, too
    "build and fill the model",
    "write the SavedModel",
    "read back what was written",
)
FLOOR_RATIO = 3  # what a conversion may take, in floors
EXTRA_GB = 1.0  # what it may hold beside twice the weights
READ_RATIO = 1.2  # what reading and assigning may hold above the model, in tensors
CONTAINERS = ("safetensors", "pth", "npz")
_MODEL = flags.DEFINE_string("model", "vit_large_patch16_224", "timm's name")
_CONTAINER = flags.DEFINE_enum(
    "container", CONTAINERS[0], CONTAINERS, "the kind of file that is converted"
)
_REPEATS = flags.DEFINE_integer("repeats", 3, "runs of each kind", lower_bound=1)
_WORK_DIR = flags.DEFINE_string(
    "work_dir", None, "where the temporary folder is made; by default the system's"
)

Run = dict[str, tuple[float, ...]]  # step -> seconds, and of a conversion peak GB


def write_checkpoint(model: str, path: Path) -> None:
    """A file of random weights for timm's `model`, of the kind that `path` names."""
    quiet.import_tensorflow()
    import numpy as np
    import torch
    from safetensors.numpy import save_file

    from vit_tf import get_config
    from vit_tf.source import read

    tensors = dict(read(get_config(model), "random:0").tensors)
    if path.suffix == ".npz":
        np.savez(path, **tensors)
    elif path.suffix == ".pth":
        torch.save({k: torch.from_numpy(v) for k, v in tensors.items()}, path)
    else:
        save_file(tensors, path)


def convert(
    model: str, checkpoint: Path, parity: bool, started: float
) -> tuple[Run, str]:
    """Converts once, in this process.

    Args:
        model: timm's name.
        checkpoint: Its weights.
        parity: Whether it is compared with timm.
        started: What `time.monotonic()` was when this process was started.

    Returns:
        Seconds and peak GB of the steps, and how the memory was measured.
    """
    memory = PeakMemory()
    names, begins, peaks = [IMPORTS], [started], []

    def progress(step: str) -> None:
        names.append(step)
        begins.append(time.monotonic())
        peaks.append(memory.take() / GB)  # of the step before

    quiet.import_tensorflow()
    quiet.drop_notes()
    from vit_tf import get_config, pipeline

    config = get_config(model)
    config.parity.enabled = parity
    out = checkpoint.with_name("bundle")
    pipeline.convert(config, out, checkpoint=checkpoint, progress=progress)
    progress("end")
    shutil.rmtree(out)
    seconds = [end - begin for begin, end in itertools.pairwise(begins)]
    run = dict(zip(names, zip(seconds, peaks, strict=True), strict=False))
    run[CONVERT] = sum(seconds[1:]), max(peaks[1:])
    run[TOTAL] = sum(seconds), max(peaks)
    return run, memory.method


def tensorflow_alone(checkpoint: Path) -> Run:
    """Holds, saves and restores a checkpoint's tensors, in this process."""
    quiet.import_tensorflow()
    import numpy as np
    import tensorflow as tf

    from vit_tf import checkpoints

    tensors = checkpoints.read(checkpoint)
    names, prefix = list(tensors), str(checkpoint.with_name("saved"))
    slices = [""] * len(names)
    times = [time.monotonic()]
    held = [tf.convert_to_tensor(np.array(tensors[name])) for name in names]
    times.append(time.monotonic())
    tf.raw_ops.SaveV2(
        prefix=prefix, tensor_names=names, shape_and_slices=slices, tensors=held
    )
    times.append(time.monotonic())
    dtypes = [tensor.dtype for tensor in held]
    del held  # what is restored takes its memory, as in a conversion
    tf.raw_ops.RestoreV2(
        prefix=prefix, tensor_names=names, shape_and_slices=slices, dtypes=dtypes
    )
    times.append(time.monotonic())
    for written in checkpoint.parent.glob("saved.*"):
        written.unlink()
    steps = [end - begin for begin, end in itertools.pairwise(times)]
    run = dict(zip((FILL, WRITE, READ_BACK), zip(steps, strict=True), strict=True))
    return run | {CONVERT: (sum(steps),)}


def copy(source: Path) -> Run:
    """Copies a file to one beside it, brought to the disk."""
    target = source.with_name("copy")
    chunk = memoryview(bytearray(CHUNK))
    with source.open("rb", buffering=0) as reader, target.open("wb", 0) as writer:
        begin = time.monotonic()
        while count := reader.readinto(chunk):
            writer.write(chunk[:count])
        written = time.monotonic()
        os.fsync(writer.fileno())
        end = time.monotonic()
    target.unlink()
    return {
        "copy": (written - begin,),
        "fsync": (end - written,),
        TOTAL: (end - begin,),
    }


def medians(runs: Sequence[Run]) -> Run:
    """The median of each figure over several runs of the same steps."""
    return {
        name: tuple(map(statistics.median, zip(*(r[name] for r in runs), strict=True)))
        for name in runs[0]
    }


def measure_all(
    model: str, checkpoint: Path, repeats: int
) -> tuple[Run, Run, Run, Run, str]:
    """Measures in turn, `repeats` times each, and takes medians.

    Returns:
        A conversion with parity, one without, TensorFlow alone, a copy, and how memory
        was measured.
    """
    floor: list[Run] = []
    alone: list[Run] = []
    conversions: dict[bool, list[Run]] = {True: [], False: []}
    for _ in tqdm(range(repeats), desc="rounds", leave=False):
        os.sync()
        floor.append(copy(checkpoint))
        os.sync()
        alone.append(measure.in_fresh_process(tensorflow_alone, checkpoint))
        for parity, runs in conversions.items():
            os.sync()
            run, method = measure.in_fresh_process(
                convert, model, checkpoint, parity, time.monotonic()
            )
            runs.append(run)
    return *map(medians, (*conversions.values(), alone, floor)), method


def report(proven: Run, plain: Run, alone: Run, floor: Run, weights: int) -> str:
    """The table, and what was reached.

    Args:
        proven: A conversion with parity.
        plain: One without.
        alone: TensorFlow's part of it.
        floor: A copy of the checkpoint.
        weights: The checkpoint's size in bytes.
    """
    header = (
        "step", "with parity, s", "GB", "without, s", "GB", "TensorFlow alone, s",
        "floor, s",
    )  # fmt: skip
    none = (None, None)
    names = [name for name in floor if name not in proven] + list(proven)
    rows = [
        (
            name,
            *proven.get(name, none),
            *plain.get(name, none),
            alone.get(name, none)[0],
            floor.get(name, none)[0],
        )
        for name in names
    ]
    ratio = plain[CONVERT][0] / floor[TOTAL][0]
    least = alone[CONVERT][0] / floor[TOTAL][0]
    extra = proven[TOTAL][1] - 2 * weights / GB
    peak = max(plain[READ][1], plain[FILL][1]) - plain[IMPORTS][1]
    reading = peak / (weights / GB) - 1
    return f"""{measure.table(header, rows)}

without parity, all but imports / floor: \
expected at most {FLOOR_RATIO:.2f}, reached {ratio:.2f}
TensorFlow alone / floor: {least:.2f}
peak with parity - 2 x weights: \
expected at most {EXTRA_GB:.2f} GB, reached {extra:.2f} GB
reading and assigning, peak above the model / tensors: \
expected at most {READ_RATIO:.2f}, reached {reading:.2f}"""


def main(argv: list[str]) -> None:
    model, repeats = _MODEL.value, _REPEATS.value
    with tempfile.TemporaryDirectory(dir=_WORK_DIR.value) as folder:
        checkpoint = Path(folder) / f"checkpoint.{_CONTAINER.value}"
        measure.in_fresh_process(write_checkpoint, model, checkpoint)
        weights = checkpoint.stat().st_size
        with measure.conditions():
            *runs, method = measure_all(model, checkpoint, repeats)
    print(f"{model}, {checkpoint.name}, {weights / GB:.3f} GB; medians of {repeats}")
    print(f"memory by {method}\n")
    print(report(*runs, weights))


if __name__ == "__main__":
    app.run(main)
