"""Checkpoints of all kinds under Ray, through kills of workers and driver.

`forty_checkpoints.py` does the same with forty.
"""

import contextlib
import json
import os
import pickle
import signal
import subprocess
import sys
import time
from collections import Counter

import numpy as np
import psutil
import safetensors.numpy
from micro import MICRO, micro_config, random_tensors

import convert_all_models
import vit_tf
from vit_tf.batch import places
from vit_tf.export import bundle
from vit_tf.reference import torch

MODEL = "deit_tiny_patch16_224"
CHANNELS = 4  # how such images are stored is not known: a bundle has fewer graphs
RANDOM = {f"model.{n}": v for n, v in {**MICRO, "in_chans": CHANNELS}.items()}
EATS = {"model.num_classes": 6_000_000, "model.img_size": 1536}
FILE = {"model.num_heads": MICRO["num_heads"]}  # what no tensor tells
MEMORY = 3.3  # GB: enough for two jobs at once, by what they declare
TIMEOUT = 25  # seconds: ten times what a good one takes
BATCHS = (".working", "ledger.jsonl")  # its own files in the folder
REASONS = {
    "truncated": "CorruptCheckpointError: ",
    "hostile": "UnsafeCheckpointError: ",
    "nan": "CheckpointError: ",
    "mismatched": "MappingError: ",
    "hangs": f"JobTimeoutError: not done within {TIMEOUT} s",
    "eats": f"JobMemoryError: more than {MEMORY} GB of memory were in use",
}
# What is only ended once the driver was killed comes last.
KINDS = (
    "good", "truncated", "hostile", "nan", "mismatched", "good", "good",
    "hangs", "good", "truncated", "good", "eats",
)  # fmt: skip


class Hostile:
    def __reduce__(self):
        return os.system, ("touch hostile-code-ran",)


def manifest(folder, kinds):
    """A row for each, and the files that they name."""
    tensors = random_tensors(micro_config(MODEL, in_chans=CHANNELS))
    rows = [row(folder, i, kind, tensors) for i, kind in enumerate(kinds)]
    path = folder / "manifest.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def row(folder, number, kind, tensors):
    if kind == "eats" or (kind == "good" and number % 3 == 1):
        more = EATS if kind == "eats" else {}
        checkpoint, overrides = f"random:{number}", {**RANDOM, **more}
    else:
        checkpoint, overrides = str(file(folder, number, kind, tensors)), FILE
    name = f"{kind}-{number:02}"
    return dict(name=name, checkpoint=checkpoint, model=MODEL, overrides=overrides)


def file(folder, number, kind, tensors):
    """A checkpoint: a good one, or one with what its kind says."""
    path = folder / f"{number}{'.pth' if number % 2 else '.safetensors'}"
    changed = dict(tensors)
    if kind == "nan":
        changed["norm.weight"] = np.full_like(tensors["norm.weight"], np.nan)
    if kind == "mismatched":
        del changed["blocks.1.mlp.fc1.bias"]
    if kind == "hostile":
        path = path.with_suffix(".pth")
        path.write_bytes(pickle.dumps({"model": Hostile()}, 2))
    elif kind == "hangs":
        path = path.with_suffix(".safetensors")
        os.mkfifo(path)  # nobody ever writes to it
    elif path.suffix == ".pth":
        torch.save({k: torch.from_numpy(v) for k, v in changed.items()}, path)
    else:
        safetensors.numpy.save_file(changed, path)
    if kind == "truncated":
        path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    return path


def entries(out):
    path = out / "ledger.jsonl"
    lines = path.read_bytes().splitlines(keepends=True) if path.exists() else []
    return [json.loads(line) for line in lines if line.endswith(b"\n")]


def wait_for_ends(out, number, process):
    """Waits until so many jobs have ended."""
    while sum(entry["state"] != "started" for entry in entries(out)) < number:
        assert process.poll() is None, process.stderr.read()
        time.sleep(0.05)


def kill_a_worker(process):
    """Kills one of a driver's workers, in the middle of a job."""
    while not (workers := at_work(process)):
        assert process.poll() is None, process.stderr.read()
        time.sleep(0.01)
    workers[0].kill()
    workers[0].wait()


def at_work(process):
    """A driver's workers that do a job."""
    found = []
    for child in psutil.Process(process.pid).children(recursive=True):
        with contextlib.suppress(psutil.NoSuchProcess):
            if "ray::_work_on" in " ".join(child.cmdline()):
                found.append(child)
    return found


def written(out, names):
    """The bundles that are there: name -> which file its parity.json is."""
    files = {name: out / name / bundle.PARITY for name in names}
    return {name: file.stat().st_ino for name, file in files.items() if file.exists()}


def test_what_becomes_of_checkpoints_of_all_kinds(tmp_path):
    converted_through_kills(tmp_path, KINDS, workers_at=(0, 1), driver_at=5)


def converted_through_kills(folder, kinds, *, workers_at, driver_at):
    """Kills workers, and the driver, when so many jobs have ended; and goes on."""
    out = folder / "out"
    command = [
        sys.executable, convert_all_models.__file__,
        f"--manifest={manifest(folder, kinds)}", f"--out={out}", "--engine=ray",
        "--workers=2", f"--memory={MEMORY}", f"--timeout={TIMEOUT}", "--keep_going",
    ]  # fmt: skip
    process = subprocess.Popen(command, cwd=folder, stderr=subprocess.PIPE, text=True)
    for ended in workers_at:
        wait_for_ends(out, ended, process)
        kill_a_worker(process)
    good = [f"good-{i:02}" for i, kind in enumerate(kinds) if kind == "good"]
    wait_for_ends(out, driver_at, process)
    while not written(out, good):
        assert process.poll() is None, process.stderr.read()
        time.sleep(0.05)
    process.send_signal(signal.SIGKILL)
    process.wait()
    process.stderr.close()
    before = written(out, good)
    again = subprocess.run(command, cwd=folder, capture_output=True, text=True)
    assert again.returncode == 1, again.stderr
    said = f"{len(good)} of {len(kinds)} converted, {len(kinds) - len(good)} failed"
    assert said in again.stdout

    done = Counter(e["name"] for e in entries(out) if e["state"] == "done")
    assert done == dict.fromkeys(good, 1)
    assert before.items() <= written(out, good).items()  # and not once more
    rows = json.loads((out / "summary.json").read_text())
    for found in rows:
        kind = found["name"].partition("-")[0]
        assert (found["state"], found["error"]) == ("done", None) or found[
            "error"
        ].startswith(REASONS[kind])
    assert all(places.whole(out / name) for name in good)
    assert vit_tf.load(out / good[-1]).count_params() > 0
    tables = [f"summary.{suffix}" for suffix in ("csv", "json", "md")]
    assert sorted(os.listdir(out)) == sorted([*good, *BATCHS, *tables])
    assert not (folder / "hostile-code-ran").exists()
