"""Checkpoint files: those that can be read, and what is said of those that cannot."""

import argparse
import functools
import io
import json
import pickle
import random
import re
import zipfile

import ml_dtypes
import numpy as np
import pytest
import torch
from cli import MICRO, MODEL, converted, refused
from safetensors.torch import save_file as save_torch_file

import vit_tf
from vit_tf import checkpoints, mapping, source
from vit_tf.checkpoints import errors

pytestmark = pytest.mark.usefixtures("shared_bench", "without_files")
ARRAYS = {
    "head.weight": np.arange(12, dtype=np.float32).reshape(3, 4),
    "head.bias": np.linspace(-1, 1, 3, dtype=np.float32),
}
MATRICES = {
    "one": torch.linspace(-3, 3, 12).reshape(3, 4),
    "many": torch.linspace(-1, 1, 50).reshape(2, 5, 5),
}
TENSORS = {name: torch.from_numpy(array) for name, array in ARRAYS.items()}


def saved(content, **options) -> bytes:
    """What `torch.save` writes."""
    buffer = io.BytesIO()
    torch.save(content, buffer, **options)
    return buffer.getvalue()


def safetensors(header: object, data: bytes = b"") -> bytes:
    text = json.dumps(header).encode()
    return len(text).to_bytes(8, "little") + text + data


def whole_safetensors() -> bytes:
    data = ARRAYS["head.weight"].tobytes()
    return safetensors(
        {"head.weight": {"dtype": "F32", "shape": [3, 4], "data_offsets": [0, 48]}},
        data,
    )


def legacy(content) -> bytes:
    return saved(content, _use_new_zipfile_serialization=False)


def npz() -> bytes:
    buffer = io.BytesIO()
    np.savez(buffer, **ARRAYS)
    return buffer.getvalue()


def flipped(data: bytes, inside: bytes) -> bytes:
    """`data` with one bit flipped in the first place where `inside` is."""
    at = data.index(inside)
    return data[:at] + bytes([data[at] ^ 1]) + data[at + 1 :]


class Hostile:
    """A pickle of it runs a command."""

    def __init__(self, command: str):
        self.command = command

    def __reduce__(self):
        import os

        return os.system, (self.command,)


def assert_same(found, expected):
    assert set(found) == set(expected)
    for name, array in expected.items():
        assert found[name].dtype == array.dtype
        np.testing.assert_array_equal(found[name], array)


@pytest.mark.parametrize(
    "name", ["a.safetensors", "a.pth", "a.pt", "a.bin", "a.ckpt", "model_best.pth.tar"]
)
def test_a_file_is_read_by_its_name(name, tmp_path):
    save = save_torch_file if name.endswith(".safetensors") else torch.save
    save(TENSORS, tmp_path / name)
    assert_same(checkpoints.read(tmp_path / name), ARRAYS)


@pytest.mark.parametrize(
    "wrapped",
    [
        {"state_dict": TENSORS, "epoch": 3, "arch": MODEL},
        {"model": TENSORS, "args": argparse.Namespace(lr=0.1, opt="adamw")},
        {"state_dict": TENSORS, "metric": np.float64(81.5), "best": np.int64(7)},
        {name: torch.nn.Parameter(tensor) for name, tensor in TENSORS.items()},
    ],
    ids=["state_dict", "model", "numpy", "parameters"],
)
@pytest.mark.parametrize("save", [saved, legacy])
def test_training_checkpoints_are_read(wrapped, save, tmp_path):
    path = tmp_path / "checkpoint.pth"
    path.write_bytes(save(wrapped))
    assert_same(checkpoints.read(path), ARRAYS)


@pytest.mark.parametrize("ending", [".safetensors", ".pth"])
@pytest.mark.parametrize("dtype", ["bfloat16", "float16", "float32", "float64"])
def test_every_float_is_read_as_it_is(dtype, ending, tmp_path):
    tensors = {n: t.to(getattr(torch, dtype)).mT for n, t in MATRICES.items()}
    path = tmp_path / f"half{ending}"
    if ending == ".pth":
        torch.save(tensors, path)
    else:
        save_torch_file({n: t.contiguous() for n, t in tensors.items()}, path)
    kind = ml_dtypes.bfloat16 if dtype == "bfloat16" else dtype
    expected = {n: t.mT.numpy().astype(kind) for n, t in MATRICES.items()}
    assert_same(checkpoints.read(path), expected)


@pytest.mark.parametrize("dtype", ["bfloat16", "float16", "float64"])
def test_a_bundle_holds_what_the_file_held(dtype, tmp_path):
    config = vit_tf.get_config(MODEL)
    config.model.update(embed_dim=24, depth=2, num_heads=3, img_size=32, num_classes=7)
    random = source.read(config, "random:0").tensors
    tensors = {
        name: torch.from_numpy(array).to(getattr(torch, dtype))
        for name, array in random.items()
    }
    path = tmp_path / "checkpoint.pth"
    torch.save({"model": tensors, "args": argparse.Namespace(lr=1)}, path)
    converted(*MICRO, f"--checkpoint={path}", f"--out={tmp_path / 'bundle'}")
    found = mapping.extract(vit_tf.load(tmp_path / "bundle"))
    assert_same(found, {n: t.to(torch.float32).numpy() for n, t in tensors.items()})
    card = (tmp_path / "bundle/README.md").read_text()
    assert "Licence of the weights: not stated" in card  # timm's are not these


ST, PTH, LEGACY = whole_safetensors(), saved(TENSORS), legacy(TENSORS)
HTML = b"<!DOCTYPE html><html><body>404: not found</body></html>"
LFS = b"version https://git-lfs.github.com/spec/v1\noid sha256:4d7a\nsize 346284714\n"
PNG = b"\x89PNG\r\n\x1a\n\x00\x00\x00\rIHDR"
FP8 = {"a": {"dtype": "F8_E4M3", "shape": [2], "data_offsets": [0, 2]}}
OTHER_KINDS = [
    (b"", "an empty file"),
    (HTML, "an HTML or XML page, 55 bytes"),
    (LFS, "a Git LFS pointer, not the file it stands for"),
    (PNG, "a PNG image"),
    (b"hello, world", "12 bytes that begin with b'hello, w'"),
    (npz(), "NumPy arrays (.npz)"),
    (b"\x89HDF\r\n\x1a\n", "an HDF5 file (.h5)"),
    (b"\x93NUMPY\x01\x00", "a NumPy array (.npy)"),
]


@pytest.mark.parametrize(
    ("name", "data", "error", "expected"),
    [
        *[
            (f"a{ending}", data, errors.CorruptCheckpointError, found)
            for data, found in OTHER_KINDS
            for ending in (".safetensors", ".pth", ".bin", ".npz")
            if (ending, found) != (".npz", "NumPy arrays (.npz)")
        ],
        ("a.pth", ST, errors.CorruptCheckpointError, "a safetensors file"),
        ("a.npz", PTH, errors.CorruptCheckpointError, "a PyTorch file (.pth)"),
        ("a.safetensors", PTH, errors.CorruptCheckpointError, "a PyTorch file (.pth)"),
        ("a.h5", npz(), errors.UnknownLayoutError, "NumPy arrays (.npz)"),
        ("a", PTH, errors.UnknownLayoutError, "ends in .safetensors, .npz, .pth"),
        ("a.safetensors", ST[:4], errors.CorruptCheckpointError, "4 bytes that"),
        ("a.safetensors", ST[:40], errors.CorruptCheckpointError, "40 bytes"),
        (
            "a.safetensors",
            ST[:-8],
            errors.CorruptCheckpointError,
            f"{len(ST):,} bytes expected); found a safetensors file, {len(ST) - 8:,} b",
        ),
        (
            "a.safetensors",
            ST + b"more",
            errors.CorruptCheckpointError,
            f"{len(ST):,} bytes expected",
        ),
        (
            "a.safetensors",
            ST.replace(b'"dtype"', b'"dtype'),
            errors.CorruptCheckpointError,
            "invalid JSON in header",
        ),
        (
            "a.safetensors",
            b"\xff" * 7 + b"\x7f" + ST[8:],
            errors.CorruptCheckpointError,
            "header too large",
        ),
        ("a.safetensors", safetensors([]), errors.CorruptCheckpointError, "10 bytes"),
        ("a.safetensors", safetensors({}), errors.UnknownLayoutError, "no tensors"),
        (
            "a.safetensors",
            safetensors(FP8, b"ab"),
            errors.UnknownLayoutError,
            "a (F8_E4M3) found; expected: tensors of F64, F32",
        ),
        ("a.pth", PTH[:50], errors.CorruptCheckpointError, "cut off or damaged"),
        ("a.pth", PTH[:-50], errors.CorruptCheckpointError, "cut off or damaged"),
        (
            "a.pth",
            LEGACY[:9],
            errors.CorruptCheckpointError,
            "a Python pickle, 9 bytes",
        ),
        ("a.pth", LEGACY[:400], errors.CorruptCheckpointError, "a Python pickle, 400"),
        ("a.pth", LEGACY[:-9], errors.CorruptCheckpointError, "unexpected EOF"),
        (
            "a.pth",
            flipped(PTH, ARRAYS["head.weight"].tobytes()),
            errors.CorruptCheckpointError,
            "the checksum of archive/data/0 differs",
        ),
        ("a.pth", saved([1, 2]), errors.UnknownLayoutError, "a list found"),
        ("a.pth", saved(TENSORS["head.bias"]), errors.UnknownLayoutError, "a Tensor"),
        ("a.pth", saved({}), errors.UnknownLayoutError, "an empty dict found"),
        (
            "a.pth",
            saved({"state_dict": {"epoch": 3}, "epoch": 3}),
            errors.UnknownLayoutError,
            "'state_dict' (dict), 'epoch' (int) found; expected: a state dict, tensors "
            "by name, or one under 'state_dict_ema', 'model_ema', ",
        ),
        ("a.pth", saved({**TENSORS, "n": 3}), errors.UnknownLayoutError, "'n' (int)"),
        (
            "a.pth",
            saved({7: TENSORS["head.bias"]}),
            errors.UnknownLayoutError,
            "7 (Tens",
        ),
        (
            "a.pth",
            saved({"a": torch.eye(3).to_sparse(), "b": torch.ones(3) * 1j}),
            errors.UnknownLayoutError,
            "a (float32, sparse_coo, cpu), b (complex64, strided, cpu) found",
        ),
        (
            "a.pth",
            saved({"a": torch.ones(3, dtype=torch.float8_e4m3fn)}),
            errors.UnknownLayoutError,
            "a (float8_e4m3fn, strided, cpu) found",
        ),
        (
            "a.pth",
            saved(torch.nn.Linear(2, 2)),
            errors.UnsafeCheckpointError,
            "asks for torch.nn.modules.linear.Linear, and nothing of it was run; "
            "expected: tensors only, as written by torch.save(model.state_dict(), ...)",
        ),
        (
            "a.bin",
            pickle.dumps(ARRAYS),
            errors.UnsafeCheckpointError,
            "a plain Python pickle, and nothing of it was run",
        ),
    ],
    ids=lambda value: None if isinstance(value, bytes) else str(value)[:40],
)
def test_a_bad_file_is_described(name, data, error, expected, tmp_path):
    path = tmp_path / name
    path.write_bytes(data)
    with pytest.raises(error, match=re.escape(expected)) as raised:
        checkpoints.read(path)
    assert str(raised.value).startswith(f"{path}: ")


def test_a_torchscript_archive_is_named(tmp_path):
    path = tmp_path / "scripted.pt"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("scripted/data.pkl", b"")
        archive.writestr("scripted/constants.pkl", b"")
    with pytest.raises(errors.CorruptCheckpointError, match="a TorchScript archive"):
        checkpoints.read(path)


@pytest.mark.parametrize("wrap", [lambda o: o, lambda o: {"model": TENSORS, "x": o}])
@pytest.mark.parametrize(
    ("save", "load"),
    [
        (saved, functools.partial(torch.load, weights_only=False)),
        (legacy, functools.partial(torch.load, weights_only=False)),
        (pickle.dumps, lambda path: pickle.loads(path.read_bytes())),
    ],
    ids=["zip", "legacy", "pickle"],
)
def test_a_hostile_pickle_is_refused_and_not_run(save, load, wrap, tmp_path):
    proof = tmp_path / "proof"
    path = tmp_path / "hostile.pth"
    path.write_bytes(save(wrap(Hostile(f"touch {proof}"))))
    message = refused(tmp_path, *MICRO, f"--checkpoint={path}")
    assert "nothing of it was run" in message
    assert save is pickle.dumps or "asks for posix.system" in message
    assert not proof.exists()
    load(path)
    assert proof.exists()  # hostile it is


def test_damage_anywhere_is_a_checkpoint_error(tmp_path):
    rng = random.Random(0)
    for ending, data in ((".safetensors", ST), (".pth", PTH), (".bin", LEGACY)):
        path = tmp_path / f"damaged{ending}"
        problems = []
        for _ in range(300):
            damaged = bytearray(data)
            for _ in range(rng.choice((1, 3, 20))):
                damaged[rng.randrange(len(data))] ^= rng.randrange(1, 256)
            path.write_bytes(
                damaged[: rng.choice((len(data), rng.randrange(len(data))))]
            )
            problems.append(problem(path))
        found = [text for text in problems if text]
        assert len(found) > 200
        assert all(text.startswith(f"{path}: ") for text in found)


def problem(path) -> str:
    try:
        checkpoints.read(path)
    except checkpoints.CheckpointError as error:
        return str(error)
    return ""


def test_nothing_there(tmp_path):
    with pytest.raises(checkpoints.CheckpointError, match="no such file or folder"):
        checkpoints.read(tmp_path / "none.pth")


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("dtype", [np.float32, np.float16, ml_dtypes.bfloat16])
def test_all_tensors_that_are_not_finite_are_named(value, dtype, tmp_path):
    tensors = {n: np.zeros((2, 3), dtype) for n in ("good", "one", "two")}
    tensors["one"][0, 1] = value
    tensors["two"][:] = value
    with pytest.raises(checkpoints.CheckpointError) as raised:
        checkpoints.check_finite(tensors, "mine.pth")
    assert str(raised.value) == (
        "mine.pth: NaN or infinity in 2 of 3 tensors, finite numbers expected:\n"
        "   one: 1 values\n"
        "   two: 6 values"
    )
