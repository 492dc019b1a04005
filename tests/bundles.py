"""Bundles to publish: one for all tests of a run, and others made from it."""

import fcntl
import json
import shutil
from pathlib import Path

import pytest
from micro import micro_config

from vit_tf import pipeline
from vit_tf.export import accuracy, bundle

LICENSE = "apache-2.0"  # which a model of random weights does not state


def shared(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A bundle that no test changes: converted once, whichever worker is the first."""
    folder = tmp_path_factory.getbasetemp()
    if folder.name.startswith("popen-"):  # a worker's own, in that of the run
        folder = folder.parent
    place = folder / "shared" / "deit_micro"
    place.parent.mkdir(exist_ok=True)
    with (place.parent / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not place.exists():
            pipeline.convert(micro_config(), place, checkpoint="random:0")
    return place


def changed(original: Path, folder: Path, **files: bytes) -> Path:
    """Another whole bundle of the same name, in a folder: with other files, or more."""
    place = folder / original.name
    shutil.copytree(original, place)
    for name, content in {"fingerprint.pb": b"another", **files}.items():
        (place / name).write_bytes(content)
    rewritten(place, result=listed(place))
    return place


def listed(place: Path) -> dict[str, str]:
    """The hashes that its parity.json should list."""
    written_later = ("README.md", str(bundle.PARITY), str(accuracy.ACCURACY))
    return {n: h for n, h in bundle.hashes(place).items() if n not in written_later}


def rewritten(place: Path, file: Path = bundle.PARITY, **entries) -> None:
    """Changes what one of its JSON files says."""
    content = json.loads((place / file).read_text())
    bundle.write_json(place / file, content | entries)
