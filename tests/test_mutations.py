"""Valid files with something changed in them: one clear error, or the same numbers.

Nothing is run, nothing written, and memory and time stay bounded, whatever is changed.
"""

import io
import json
import time
import zipfile
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from micro import micro_config
from safetensors.numpy import save
from test_checkpoints import ARRAYS, Hostile, legacy, npz, saved

from vit_tf import checkpoints, models
from vit_tf.checkpoints import errors
from vit_tf.checkpoints.keras_h5 import KerasWeights

MEMORY = 256 << 20  # bytes above what there was
SECONDS = 5
TENSORS = {name: torch.from_numpy(array) for name, array in ARRAYS.items()}


def compressed() -> bytes:
    buffer = io.BytesIO()
    np.savez_compressed(buffer, **ARRAYS)
    return buffer.getvalue()


def keras(save_name: str, folder: Path) -> bytes:
    model = models.build(micro_config(embed_dim=6, depth=1))
    path = folder / save_name
    (model.save if path.suffix == ".keras" else model.save_weights)(path)
    return path.read_bytes()


# What is changed, and how much of the file its own checksums, or an exact fit of sizes,
# protect: "all" of it, its "header", or nothing, so that other numbers may be read.
CONTAINERS = {
    "a.safetensors": (save(ARRAYS), "header"),
    "zip.pth": (saved({"model": TENSORS, "epoch": 3}), "all"),
    "legacy.pth": (legacy({"model": TENSORS, "epoch": 3}), "none"),
    "stored.npz": (npz(), "all"),
    "compressed.npz": (compressed(), "all"),
}


@pytest.fixture(scope="module")
def containers(tmp_path_factory):
    folder = tmp_path_factory.mktemp("keras")
    return CONTAINERS | {
        "a.keras": (keras("a.keras", folder), "all"),
        "a.weights.h5": (keras("a.weights.h5", folder), "none"),
    }


def numbers(path) -> list[bytes]:
    """All that is read of a file, without the names."""
    if path.name.endswith((".keras", ".h5")):
        tensors = KerasWeights(path)
    else:
        tensors = checkpoints.open_checkpoint(path).tensors
    return sorted(tensors[name].tobytes() for name in tensors)


def outcome(path) -> list[bytes] | str:
    """The numbers, or what the error says; in bounded memory and time."""
    before, start = _reset_peak(), time.monotonic()
    files = sorted(path.parent.iterdir())
    try:
        found = numbers(path)
    except checkpoints.CheckpointError as error:
        found = str(error)
        assert str(path) in found
    assert time.monotonic() - start < SECONDS
    assert _status("VmHWM") - before < MEMORY
    assert sorted(path.parent.iterdir()) == files
    return found


def _reset_peak() -> int:
    Path("/proc/self/clear_refs").write_text("5")
    return _status("VmRSS")


def _status(field: str) -> int:
    """A line of Linux's account of this process, in bytes."""
    text = Path("/proc/self/status").read_text()
    return int(text.partition(f"{field}:")[2].split()[0]) << 10


@st.composite
def edits(draw) -> list[tuple[str, float, int]]:
    """Kinds of change, each at a place (a part of the file) with a number."""
    kind = st.sampled_from(["flip", "huge", "zero", "delete", "insert", "repeat"])
    place = st.floats(0, 1, exclude_max=True)
    return draw(
        st.lists(st.tuples(kind, place, st.integers(0, 255)), min_size=1, max_size=4)
    )


def changed(data: bytes, kind: str, at: int, number: int) -> bytes:
    length = 1 + number % 16
    before, here, after = data[:at], data[at : at + length], data[at + length :]
    return {
        "flip": before + bytes([data[at] ^ (1 << number % 8)]) + data[at + 1 :],
        "huge": before + b"\xff" * 7 + b"\x7f" + data[at + 8 :],
        "zero": before + bytes(length) + after,
        "delete": before + after,
        "insert": before + bytes([number]) * length + here + after,
        "repeat": before + here * 2 + after,
    }[kind]


def header_size(data: bytes) -> int:
    return 8 + int.from_bytes(data[:8], "little")


@pytest.mark.parametrize("name", [*CONTAINERS, "a.keras", "a.weights.h5"])
def test_changes_anywhere(name, containers, tmp_path):
    data, protected = containers[name]
    path = tmp_path / name
    path.write_bytes(data)
    whole = outcome(path)
    assert isinstance(whole, list)
    end = header_size(data) if protected == "header" else len(data)
    results = []

    @settings(
        max_examples=60,
        derandomize=True,
        deadline=None,
        database=None,
        suppress_health_check=[HealthCheck.too_slow],
    )
    @given(edits())
    def change(edits):
        mutated = data
        for kind, place, number in edits:
            at = min(int(place * end), len(mutated) - 1)
            mutated = changed(mutated, kind, at, number)
        path.write_bytes(mutated)
        found = outcome(path)
        assert isinstance(found, str) or found == whole or protected == "none"
        results.append(found)

    change()
    assert len(results) >= 60
    assert sum(isinstance(found, str) for found in results) > 20


@pytest.mark.parametrize("name", [*CONTAINERS, "a.keras", "a.weights.h5"])
def test_truncated_anywhere(name, containers, tmp_path):
    data, _ = containers[name]
    path = tmp_path / name
    places = {0, 1, 7, 8, 9, len(data) - 1}
    places |= {int(place) for place in np.linspace(0, len(data) - 2, 40)}
    for place in sorted(places):
        path.write_bytes(data[:place])
        assert isinstance(outcome(path), str), place


def claims(shape, offsets, dtype="F32") -> bytes:
    entry = {"dtype": dtype, "shape": shape, "data_offsets": offsets}
    header = json.dumps({"a.b": entry}).encode()
    return len(header).to_bytes(8, "little") + header + bytes(8)


@pytest.mark.parametrize(
    "data",
    [
        claims([2**38], [0, 2**40]),
        claims([2**62, 2**62], [0, 8]),
        claims([2**63, 0], [0, 0]),
        claims([3], [0, 8]),
        claims([-1, -2], [0, 8]),
        claims([2], [4, 12]),
        claims([2], [8, 0]),
        claims([1] * 70 + [2], [0, 8]),
        claims([2], [0, 8], "F128"),
        (2**40).to_bytes(8, "little") + b"{}",
        (2 * 10**5).to_bytes(8, "little") + b"[" * 10**5 + b"]" * 10**5,
        (2 * 10**5 + 5).to_bytes(8, "little") + b'{"a":' + b"[" * 10**5 + b"]" * 10**5,
    ],
    ids=range(12),
)
def test_a_safetensors_header_that_claims_what_is_not_there(data, tmp_path):
    path = tmp_path / "a.safetensors"
    path.write_bytes(data)
    assert isinstance(outcome(path), str)


def test_a_pth_that_claims_terabytes(tmp_path):
    """Sizes in the pickle, where the archive's own sums are right again."""
    with zipfile.ZipFile(io.BytesIO(saved({"a.b": torch.ones(77, 3)}))) as file:
        members = {name: file.read(name) for name in file.namelist()}
    pickled = next(name for name in members if name.endswith("data.pkl"))
    huge = b"J\xff\xff\xff\x7f"  # a pickle's 2**31 - 1, in place of 77
    path = tmp_path / "a.pth"
    for content in (
        members[pickled].replace(b"KM", huge),
        members[pickled].replace(b"K\x03", huge),
    ):
        assert content != members[pickled]
        with zipfile.ZipFile(path, "w") as file:
            for name, data in (members | {pickled: content}).items():
                file.writestr(name, data)
        assert isinstance(outcome(path), str)
    storage = members | {pickled: members[pickled].replace(b"K\xe7", huge)}
    with zipfile.ZipFile(path, "w") as file:
        for name, data in storage.items():
            file.writestr(name, data)
    assert outcome(path) == [np.ones((77, 3), np.float32).tobytes()]  # what is there


@pytest.mark.parametrize("save_content", [saved, legacy])
def test_code_between_tensors_is_not_run(save_content, tmp_path):
    proof = tmp_path / "proof"
    for place in ("model", "args", "epoch"):
        content = {"model": dict(TENSORS), "args": {}, "epoch": 3}
        content[place] = Hostile(f"touch {proof}")
        path = tmp_path / "a.pth"
        path.write_bytes(save_content(content))
        assert "nothing of it was run" in str(outcome(path))
    assert not proof.exists()


def test_a_tree_of_dicts_that_is_its_own_branches(tmp_path):
    """Few bytes, and a path through every one of them would take forever."""
    tree = {"a.b": torch.ones(1)}
    for _ in range(60):
        tree = {"model": tree, "state_dict": tree, "net": tree, "teacher": tree}
    path = tmp_path / "a.pth"
    torch.save(tree, path)
    assert "found; expected: " in str(outcome(path))


def test_every_error_is_of_one_family():
    kinds = [
        kind
        for kind in vars(errors).values()
        if isinstance(kind, type) and issubclass(kind, Exception)
    ]
    assert len(kinds) > 5
    assert all(issubclass(kind, checkpoints.CheckpointError) for kind in kinds)
