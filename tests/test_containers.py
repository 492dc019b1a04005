"""Archives of arrays, shards, folders: the tensors come back, and keep their dtype."""

import json
import re
import warnings
import zipfile

import ml_dtypes
import numpy as np
import pytest
import torch
from safetensors.numpy import save_file
from test_checkpoints import ARRAYS, assert_same

from vit_tf import checkpoints
from vit_tf.checkpoints import archive, errors

KINDS = (
    "float16", "float32", "float64", "int8", "int16", "int32", "int64", "uint8", "bool",
)  # fmt: skip
ODD = {
    "Transformer/encoderblock_0/scale": np.arange(6, dtype=">f4").reshape(2, 3),
    "columns": np.asfortranarray(np.arange(12.0).reshape(3, 4)),
    "scalar": np.array(3, np.int64),
    "nothing": np.zeros((0, 3), np.float16),
    "half": np.linspace(-2, 2, 7).astype(ml_dtypes.bfloat16),
}


def refused(path, error, expected, **options):
    with pytest.raises(error, match=re.escape(expected)) as raised:
        checkpoints.open_checkpoint(path, **options)
    assert str(path) in str(raised.value)


@pytest.mark.parametrize("save", [np.savez, np.savez_compressed])
def test_every_array_of_an_npz_comes_back(save, tmp_path):
    path = tmp_path / "a.npz"
    every = {kind: np.arange(6).astype(kind).reshape(2, 3) for kind in KINDS}
    save(path, **every, **ODD)
    found = checkpoints.read(path)
    native = {n: a.astype(a.dtype.newbyteorder("=")) for n, a in ODD.items()}
    assert_same(found, every | native)
    with pytest.raises(ValueError, match="read-only"):
        found["float32"][:] = 0


def test_what_is_stored_as_it_is_is_mapped(tmp_path):
    np.savez(tmp_path / "a.npz", **ARRAYS)
    found = checkpoints.read(tmp_path / "a.npz")
    assert all(isinstance(array, np.memmap) for array in found.values())


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("ending", [".safetensors", ".pth"])
def test_every_kind_of_number_is_kept(kind, ending, tmp_path):
    arrays = {"a.b": np.arange(6).astype(kind).reshape(2, 3)}
    path = tmp_path / f"a{ending}"
    if ending == ".pth":
        torch.save({n: torch.from_numpy(a) for n, a in arrays.items()}, path)
    else:
        save_file(arrays, path)
    assert_same(checkpoints.read(path), arrays)


def member(header: bytes, data: bytes = b"") -> bytes:
    """A .npy file of which the header says anything."""
    return b"\x93NUMPY\x01\x00" + len(header).to_bytes(2, "little") + header + data


def described(shape, dtype="<f4") -> bytes:
    return f"{{'descr': '{dtype}', 'fortran_order': False, 'shape': {shape}}}".encode()


def zipped(path, members, kind=zipfile.ZIP_STORED):
    with zipfile.ZipFile(path, "w", kind) as file, warnings.catch_warnings():
        warnings.simplefilter("ignore")  # on names that are there twice
        for name, data in members:
            file.writestr(name, data)
    return path


@pytest.mark.parametrize(
    ("data", "error", "expected"),
    [
        (b"hello", errors.CorruptCheckpointError, "a.npy: not a NumPy array"),
        (member(b"{"), errors.CorruptCheckpointError, "a.npy: not a NumPy array"),
        (member(b"(" * 9000), errors.CorruptCheckpointError, "not a NumPy array"),
        (member(b"[" * 20000), errors.CorruptCheckpointError, "not a NumPy array"),
        (
            member(described((3, 4)), bytes(40)),
            errors.CorruptCheckpointError,
            "bytes found, ",
        ),
        (
            member(described((10**6, 10**6))),
            errors.CorruptCheckpointError,
            "expected for float32 of shape (1000000, 1000000)",
        ),
        (
            member(described((10**30, 0))),
            errors.CorruptCheckpointError,
            "not a NumPy array",
        ),
        (
            member(described((1,), "|O"), b"cos\nsystem\n(S'true'\ntR."),
            errors.UnsafeCheckpointError,
            "a: pickled Python objects found, and nothing of them was run",
        ),
        (
            member(described((1,), "<c8"), bytes(8)),
            errors.UnknownLayoutError,
            "a (complex64) found; expected: arrays of real numbers",
        ),
        (
            member(described((1,), "|V4"), bytes(4)),
            errors.UnknownLayoutError,
            "a (|V4) found",
        ),
    ],
)
def test_a_bad_array_is_described(data, error, expected, tmp_path):
    path = zipped(tmp_path / "a.npz", [("a.npy", data)])
    refused(path, error, expected)


def test_a_name_that_an_archive_has_twice(tmp_path):
    array = member(described((1,)), bytes(4))
    path = zipped(tmp_path / "a.npz", [("a.npy", array), ("a.npy", array)])
    refused(path, errors.CorruptCheckpointError, "several members named a.npy found")


def test_a_member_that_an_archive_hides(tmp_path):
    np.savez(tmp_path / "a.npz", **ARRAYS)
    data = (tmp_path / "a.npz").read_bytes()
    at = data.rindex(b"PK\x05\x06") + 10
    (tmp_path / "b.npz").write_bytes(data[:at] + b"\x03" + data[at + 1 :])
    refused(
        tmp_path / "b.npz",
        errors.CorruptCheckpointError,
        "damaged (2 members found, 3 stated)",
    )


@pytest.mark.parametrize("name", ["a.npz", "a.pth"])
def test_a_zip_bomb_is_refused(name, tmp_path):
    size = archive.ALLOWANCE + (1 << 22)
    inside = "a.npy" if name == "a.npz" else "a/data.pkl"
    data = member(described((size // 4,)), bytes(size))
    path = zipped(tmp_path / name, [(inside, data)], zipfile.ZIP_DEFLATED)
    assert path.stat().st_size < size / 100
    refused(path, errors.TooLargeCheckpointError, "bytes would inflate to 71,303,")


def test_a_compressed_pth_is_refused(tmp_path):
    torch.save({"a.b": torch.ones(3)}, tmp_path / "a.pth")
    with zipfile.ZipFile(tmp_path / "a.pth") as file:
        members = [(name, file.read(name)) for name in file.namelist()]
    path = zipped(tmp_path / "b.pth", members, zipfile.ZIP_DEFLATED)
    refused(path, errors.CorruptCheckpointError, "compressed; expected: stored as they")


def test_a_tensor_that_repeats_one_number_is_refused(tmp_path):
    torch.save({"a.b": torch.ones(1).expand(10**12)}, tmp_path / "a.pth")
    refused(
        tmp_path / "a.pth",
        errors.TooLargeCheckpointError,
        "tensors of 4,000,000,000,000 bytes found in a file of ",
    )


def test_tied_tensors_are_read(tmp_path):
    tied = torch.arange(1000.0)
    torch.save({"a.b": tied, "c.d": tied}, tmp_path / "a.pth")
    expected = {"a.b": tied.numpy(), "c.d": tied.numpy()}
    assert_same(checkpoints.read(tmp_path / "a.pth"), expected)


@pytest.mark.parametrize(
    ("pickled", "expected"),
    [
        (b"})" + b"\x85" * 2_000_000 + b"K\x01s.", "100 tuples in each other"),
        (b"(" * 200 + b"t" * 200 + b".", "100 tuples in each other"),
        (b")q\x00" + b"h\x00\x85q\x00" * 200 + b".", "100 tuples in each other"),
        (b"]" * 1_000_001 + b".", "more than 1,000,000 steps"),
    ],
)
@pytest.mark.parametrize("legacy", [True, False])
def test_a_pickle_that_python_would_crash_on(pickled, expected, legacy, tmp_path):
    path = tmp_path / "a.pth"
    if legacy:
        path.write_bytes(b"\x80\x02" + pickled)
    else:
        zipped(path, [("a/data.pkl", b"\x80\x02" + pickled)])
    refused(path, errors.TooLargeCheckpointError, expected)


def test_a_pickle_that_asks_for_all_memory(tmp_path, monkeypatch):
    path = tmp_path / "a.pth"
    path.write_bytes(b"\x80\x04\x8d" + (2**62).to_bytes(8, "little") + b"abc")
    refused(path, errors.CorruptCheckpointError, "its pickle is damaged")

    def load(*arguments, **options):
        raise MemoryError

    torch.save({"a.b": torch.ones(3)}, path)
    monkeypatch.setattr(torch, "load", load)
    refused(path, errors.TooLargeCheckpointError, "asks for more memory than there is")


@pytest.fixture(params=[".safetensors", ".bin"])
def sharded(request, tmp_path):
    """A folder of two shards, and what writes another index into it."""
    ending = request.param
    stem = "model" if ending == ".safetensors" else "pytorch_model"
    files = {
        name: f"{stem}-0000{number}-of-00002{ending}"
        for number, name in enumerate(ARRAYS, 1)
    }
    for name, file in files.items():
        if ending == ".safetensors":
            save_file({name: ARRAYS[name]}, tmp_path / file)
        else:
            torch.save({name: torch.from_numpy(ARRAYS[name])}, tmp_path / file)
    index = tmp_path / f"{stem}{ending}.index.json"

    def written(**changes):
        index.write_text(json.dumps({"weight_map": files} | changes))
        return index

    written()
    return index, files, written


def test_shards_are_one_checkpoint(sharded):
    index, _, _ = sharded
    assert_same(checkpoints.read(index), ARRAYS)
    contents = checkpoints.open_checkpoint(index.parent)
    assert contents.path == index
    assert_same(contents.tensors, ARRAYS)


def test_an_index_that_differs_from_its_shards(sharded):
    index, files, written = sharded
    one, two = files
    swapped = {one: files[two], two: files[one]}
    refused(
        written(weight_map=swapped),
        errors.CorruptCheckpointError,
        f"{one} is not in {files[two]}; {two} is not in {files[one]}; ",
    )
    refused(
        written(weight_map=files | {"more": files[one]}),
        errors.CorruptCheckpointError,
        f"more is not in {files[one]}",
    )
    gone = f"{index.name.partition('.')[0]}-9{index.suffixes[0]}"
    refused(
        written(weight_map=files | {"more": gone}),
        errors.CheckpointError,
        f"{gone} not there; expected: all 3 files",
    )


@pytest.mark.parametrize(
    ("text", "error", "expected"),
    [
        ("{", errors.CorruptCheckpointError, "not JSON"),
        ("[" * 100_000, errors.CorruptCheckpointError, "not JSON"),
        ("[]", errors.CorruptCheckpointError, "list found; expected: a JSON object"),
        ("{}", errors.CorruptCheckpointError, "no weight_map found"),
        ('{"a": 1, "a": 2}', errors.CorruptCheckpointError, "'a' is stated twice"),
        (
            '{"weight_map": {"a": "/etc/passwd", "b": "../b.safetensors", "c": 3}}',
            errors.UnsafeCheckpointError,
            "'/etc/passwd', '../b.safetensors', 3 found",
        ),
        (
            '{"weight_map": {"a": "config.json"}}',
            errors.CorruptCheckpointError,
            "config.json found; expected: .safetensors files",
        ),
    ],
)
def test_a_bad_index_is_described(text, error, expected, tmp_path):
    path = tmp_path / "model.safetensors.index.json"
    path.write_text(text)
    refused(path, error, expected)


def test_an_index_larger_than_any(tmp_path):
    path = tmp_path / "model.safetensors.index.json"
    with path.open("wb") as file:
        file.truncate(1 << 30)
    refused(path, errors.TooLargeCheckpointError, "1,073,741,824 bytes of JSON found")


def test_a_safetensors_header_larger_than_any(tmp_path):
    path = tmp_path / "a.safetensors"
    with path.open("wb") as file:
        file.write((50 << 20).to_bytes(8, "little"))
        file.truncate(60 << 20)
    refused(path, errors.TooLargeCheckpointError, "a header of 52,428,800 bytes found")


def test_a_tensor_that_safetensors_states_twice(tmp_path):
    path = tmp_path / "a.safetensors"
    entry = b'"a": {"dtype": "F32", "shape": [1], "data_offsets": [0, 4]}'
    header = b"{" + entry + b", " + entry + b"}"
    path.write_bytes(len(header).to_bytes(8, "little") + header + bytes(4))
    refused(path, errors.CorruptCheckpointError, "'a' is stated twice")


@pytest.mark.parametrize("name", ["model.safetensors", "pytorch_model.bin"])
def test_a_transformers_folder(name, tmp_path):
    if name.endswith(".bin"):
        torch.save({n: torch.from_numpy(a) for n, a in ARRAYS.items()}, tmp_path / name)
    else:
        save_file(ARRAYS, tmp_path / name)
    stated = {"model_type": "vit", "hidden_size": 24}
    (tmp_path / "config.json").write_text(json.dumps(stated))
    for uri in (tmp_path, tmp_path / name):
        contents = checkpoints.open_checkpoint(uri)
        assert contents.path == tmp_path / name
        assert contents.config == stated
        assert_same(contents.tensors, ARRAYS)


def test_the_config_of_another_file_is_not_taken(tmp_path):
    save_file(ARRAYS, tmp_path / "mine.safetensors")
    (tmp_path / "config.json").write_text("{}")
    assert checkpoints.open_checkpoint(tmp_path / "mine.safetensors").config == {}


def test_a_config_that_is_no_object(tmp_path):
    save_file(ARRAYS, tmp_path / "model.safetensors")
    for text, expected in (("[1]", "list found"), ("{", "not JSON")):
        (tmp_path / "config.json").write_text(text)
        with pytest.raises(errors.CorruptCheckpointError, match=expected):
            checkpoints.open_checkpoint(tmp_path)
