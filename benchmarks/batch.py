"""Many small conversions in one process, against one `convert.py` process for each.

    python benchmarks/batch.py
    python benchmarks/batch.py --models=200 --separate=0    # does memory stay flat?

`--models` checkpoints of random weights are written to a temporary folder. Then
`convert_all_models.py` converts them all, in one process, and `convert.py` the first
`--separate` of them, a process each. Throughput is that of whole commands: imports,
tracing, reading back, tables. All of one command is measured from outside, in seconds
and in CPU seconds of the process and its children.

Beside them stands what TensorFlow alone takes, in CPU seconds, to write a model's
tensors and to read them back (SaveV2, RestoreV2): the median over the checkpoints. What
a conversion in the batch takes beyond that is its overhead.

Memory is the peak of resident memory within each conversion, as the batch's own table
has it: the medians of the first and the last ten after the first, which traces.
"""

import itertools
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

import measure
from absl import app, flags
from tqdm import tqdm

from vit_tf import quiet

ROOT = Path(__file__).parent.parent
THROUGHPUT = 5  # what one process should convert in the time of one model apart
OVERHEAD = 2  # CPU seconds a model, beyond writing and reading back
ENDS = 10  # how many conversions stand for the beginning, and for the end
_MODEL = flags.DEFINE_string("model", "deit_tiny_patch16_224", "timm's name")
_MODELS = flags.DEFINE_integer("models", 30, "checkpoints", lower_bound=2)
_SEPARATE = flags.DEFINE_integer(
    "separate", None, "how many of them are converted apart; by default all"
)

Cost = tuple[float, float]  # seconds, CPU seconds


def write_checkpoints(model: str, folder: Path, count: int) -> list[Path]:
    """Files of random weights for timm's `model`."""
    quiet.import_tensorflow()
    from safetensors.numpy import save_file

    from vit_tf import get_config
    from vit_tf.checkpoints.random import RandomTensors
    from vit_tf.source import parameter_shapes

    shapes = parameter_shapes(get_config(model))
    paths = [folder / f"{seed:04d}.safetensors" for seed in range(count)]
    for seed, path in enumerate(paths):
        save_file(dict(RandomTensors(shapes, seed)), path)
    return paths


def together(model: str, paths: Sequence[Path], out: Path) -> Cost:
    """All in one process."""
    manifest = out.with_suffix(".jsonl")
    rows = ({"name": p.stem, "checkpoint": str(p), "model": model} for p in paths)
    manifest.write_text("".join(json.dumps(row) + "\n" for row in rows))
    script = ROOT / "convert_all_models.py"
    return _cost(script, f"--manifest={manifest}", f"--out={out}")


def apart(model: str, path: Path, out: Path) -> Cost:
    """One, in a process of its own."""
    arguments = f"--model={model}", f"--checkpoint={path}", f"--out={out}"
    return _cost(ROOT / "convert.py", *arguments)


def _cost(*command: object) -> Cost:
    os.sync()
    before, begin = measure.cpu_of_children(), time.monotonic()
    subprocess.run(
        [sys.executable, *map(str, command)], check=True, capture_output=True
    )
    return time.monotonic() - begin, measure.cpu_of_children() - before


def writing_and_reading(paths: Sequence[Path]) -> float:
    """CPU seconds in which TensorFlow writes a model's tensors and reads them."""
    quiet.import_tensorflow()
    import tensorflow as tf

    from vit_tf import checkpoints

    taken = []
    for path in paths:
        tensors = checkpoints.read(path)
        names, prefix = [*tensors], str(path.with_name("saved"))
        slices = [""] * len(names)
        held = [tf.convert_to_tensor(tensors[name]) for name in names]
        begin = time.process_time()
        tf.raw_ops.SaveV2(
            prefix=prefix, tensor_names=names, shape_and_slices=slices, tensors=held
        )
        dtypes = [tensor.dtype for tensor in held]
        tf.raw_ops.RestoreV2(
            prefix=prefix, tensor_names=names, shape_and_slices=slices, dtypes=dtypes
        )
        taken.append(time.process_time() - begin)
    return statistics.median(taken)


def report(
    count: int, batch: Cost, separate: Sequence[Cost], floor: float, rows: list[dict]
) -> str:
    """The table, and what was reached.

    Args:
        count: How many were converted together.
        batch: What that took.
        separate: What each took that was converted apart.
        floor: CPU seconds of writing and reading one.
        rows: The batch's own table.
    """
    per_model = tuple(total / count for total in batch)
    lines = [("together", count, *per_model)]
    if separate:
        medians = tuple(map(statistics.median, zip(*separate, strict=True)))
        lines.append(("apart", len(separate), *medians))
    lines.append(("written and read alone", count, None, floor))
    later = [row["cpu_seconds"] for row in rows[1:]]
    peaks = [row["peak_bytes"] / 1e9 for row in rows[1:]]
    first, last = (statistics.median(p) for p in (peaks[:ENDS], peaks[-ENDS:]))
    found = [measure.table(("", "models", "s a model", "CPU s a model"), lines), ""]
    if separate:
        found.append(
            f"throughput together / apart: expected at least {THROUGHPUT:.2f}, "
            f"reached {medians[0] / per_model[0]:.2f}"
        )
    found += [
        "CPU s of a conversion after the first, beyond writing and reading: expected "
        f"below {OVERHEAD:.2f}, reached {statistics.median(later) - floor:.2f}",
        f"peak GB within a conversion: {first:.3f} at the beginning, {last:.3f} at the "
        f"end, a ratio of {last / first:.3f}",
    ]
    return "\n".join(found)


def main(argv: list[str]) -> None:
    model, count = _MODEL.value, _MODELS.value
    separate = count if _SEPARATE.value is None else _SEPARATE.value
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        paths = measure.in_fresh_process(write_checkpoints, model, folder, count)
        with measure.conditions():
            batch = together(model, paths, folder / "batch")
            rows = json.loads((folder / "batch" / "summary.json").read_text())
            chosen = itertools.islice(paths, separate)
            single = [
                apart(model, path, folder / f"apart{path.stem}")
                for path in tqdm(chosen, total=separate, desc="apart", leave=False)
            ]
            floor = measure.in_fresh_process(writing_and_reading, paths)
    print(f"{model}, {count} checkpoints\n")
    print(report(count, batch, single, floor, rows))


if __name__ == "__main__":
    app.run(main)
