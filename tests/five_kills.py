"""Kills a fine-tuning five times, and compares its losses with an unbroken one's.

    python tests/five_kills.py

Trains examples/digits on digits, in processes of their own: takes some minutes.
"""

import argparse
import json
import random
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from digit_images import write_digits

ROOT = Path(__file__).parent.parent
EPOCHS = 40
RECIPE = {
    "epochs": EPOCHS, "batch_size": 16, "drop": 0.1, "drop_path": 0.2, "mixup": 0.8,
    "cutmix": 1.0, "aa": "rand-m9-mstd0.5-inc1", "reprob": 0.25, "clip_grad": 1.0,
    "model_ema_decay": 0.9, "grad_accum_steps": 2,
}  # fmt: skip


def start(bundle: Path, data: Path, out: Path) -> subprocess.Popen:
    command = [sys.executable, "-m", "vit_tf.finetune", f"--bundle={bundle}"]
    command += [f"--data={data}", f"--out={out}", "--resume"]
    command += [f"--config.{name}={value}" for name, value in RECIPE.items()]
    with out.with_suffix(".log").open("a") as log:
        return subprocess.Popen(command, cwd=ROOT, stdout=log, stderr=log)


def history(out: Path) -> list[dict]:
    path = out.with_name(f"{out.name}.training") / "history.jsonl"
    lines = path.read_text().splitlines() if path.exists() else []
    return [json.loads(line) for line in lines]


def kill_at_random(process: subprocess.Popen, out: Path, epoch: int) -> None:
    """Kills it at some moment of the epoch behind so many others."""
    while len(history(out)) < epoch:
        if process.poll() is not None:
            raise SystemExit(out.with_suffix(".log").read_text())
        time.sleep(0.01)
    time.sleep(random.uniform(0, 0.5))
    process.send_signal(signal.SIGKILL)
    process.wait()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seed", type=int, default=0)
    random.seed(parser.parse_args().seed)
    with tempfile.TemporaryDirectory() as folder:
        bundle, data = Path(folder, "digits"), Path(folder, "data")
        write_digits(data, count=120, classes=3)
        convert = [sys.executable, "convert.py", "--checkpoint=examples/digits"]
        subprocess.run([*convert, f"--out={bundle}"], cwd=ROOT, check=True)
        unbroken, killed = Path(folder, "unbroken"), Path(folder, "killed")
        start(bundle, data, unbroken).wait()
        places = sorted(random.sample(range(EPOCHS - 5), 5))
        for place in places:
            kill_at_random(start(bundle, data, killed), killed, place)
        start(bundle, data, killed).wait()
        expected, found = history(unbroken), history(killed)
    print(f"killed at some moment after epochs {places} of {EPOCHS}")
    if not expected or len(expected) != EPOCHS or expected != found:
        raise SystemExit("the losses differ")
    print("all losses of all batches, and all held-out metrics, are the same")


if __name__ == "__main__":
    main()
