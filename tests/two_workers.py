"""A fine-tuning by two workers, processes of this machine, against one process.

    python tests/two_workers.py

Trains examples/digits on digits; takes some minutes.
"""

import json
import os
import socket
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
from digit_images import write_digits

ROOT = Path(__file__).parent.parent
RECIPE = {"epochs": 3, "batch_size": 16, "drop_path": 0.0, "mixup": 0.8}


def start(bundle: Path, data: Path, out: Path, **environment: str) -> subprocess.Popen:
    strategy = "multi_worker" if environment else "none"
    command = [sys.executable, "-m", "vit_tf.finetune", f"--bundle={bundle}"]
    command += [f"--data={data}", f"--out={out}", f"--strategy={strategy}"]
    command += [f"--config.{name}={value}" for name, value in RECIPE.items()]
    return subprocess.Popen(command, cwd=ROOT, env=os.environ | environment)


def free_ports(count: int) -> list[int]:
    sockets = [socket.create_server(("localhost", 0)) for _ in range(count)]
    ports = [opened.getsockname()[1] for opened in sockets]
    for opened in sockets:
        opened.close()
    return ports


def history(out: Path) -> list[dict]:
    path = out.with_name(f"{out.name}.training") / "history.jsonl"
    return [json.loads(line) for line in path.read_text().splitlines()]


def main() -> None:
    with tempfile.TemporaryDirectory() as folder:
        bundle, data = Path(folder, "digits"), Path(folder, "data")
        write_digits(data, count=120, classes=3)
        convert = [sys.executable, "convert.py", "--checkpoint=examples/digits"]
        subprocess.run([*convert, f"--out={bundle}"], cwd=ROOT, check=True)
        one, two = Path(folder, "one"), Path(folder, "two")
        cluster = {"worker": [f"localhost:{port}" for port in free_ports(2)]}
        workers = []
        for index in range(2):
            task = {"cluster": cluster, "task": {"type": "worker", "index": index}}
            workers.append(start(bundle, data, two, TF_CONFIG=json.dumps(task)))
        start(bundle, data, one).wait()
        if codes := [worker.wait() for worker in workers if worker.wait()]:
            raise SystemExit(f"workers ended with {codes}")
        expected, found = history(one), history(two)
        if not (two / "saved_model.pb").is_file():
            raise SystemExit("no bundle was written")
    for row, other in zip(expected, found, strict=True):
        np.testing.assert_allclose(other["losses"], row["losses"], rtol=1e-5)
        np.testing.assert_allclose(other["val_loss"], row["val_loss"], rtol=1e-5)
    print("the losses of two workers are those of one process")


if __name__ == "__main__":
    main()
