"""Conversions that end early, by a full disk or a signal, leave nothing behind."""

import contextlib
import errno
import os
import resource
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from cli import MICRO, ROOT, converted, refused, run, tree

from vit_tf.export import bundle

pytestmark = pytest.mark.usefixtures("graphs_as_traced", "without_files")

RANDOM = "--checkpoint=random:0"
SLIM = [*MICRO, "--formats=saved_model,keras", RANDOM]
WIDE = [*SLIM, "--config.model.num_classes=9000"]  # the weights are the largest files
DATA = "variables/variables.data-00000-of-00001"


@pytest.fixture(scope="module")
def sizes(tmp_path_factory) -> dict[str, dict[str, int]]:
    """The size of each file that `SLIM` and `WIDE` write."""
    sizes = {}
    for arguments in (SLIM, WIDE):
        directory = tmp_path_factory.mktemp("sizes") / "bundle"
        converted(*arguments, f"--out={directory}")
        sizes[" ".join(arguments)] = bundle.files(directory)
    return sizes


@pytest.fixture
def limit_file_size():
    """Sets how large a file this process may write: a disk that is full at a point."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    yield lambda size: resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    resource.setrlimit(resource.RLIMIT_FSIZE, before)
    signal.signal(signal.SIGXFSZ, handler)


@pytest.mark.parametrize(
    ("arguments", "fits", "does_not_fit"),
    [
        (SLIM, DATA, "saved_model.pb"),
        (WIDE, "saved_model.pb", DATA),
        (WIDE, DATA, "model.keras"),
    ],
    ids=["saved_model.pb", "variables", "model.keras"],
)
def test_a_full_disk(arguments, fits, does_not_fit, sizes, tmp_path, limit_file_size):
    low, high = (sizes[" ".join(arguments)][name] for name in (fits, does_not_fit))
    assert low < high
    limit_file_size((low + high) // 2)
    message = refused(tmp_path, *arguments)
    assert message == f"{os.strerror(errno.EFBIG)}: {tmp_path / 'bundle'}"


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT])
def test_a_disk_that_is_full_at_the_last_file(number, tmp_path, monkeypatch):
    write_text = Path.write_text

    def full(path, text):
        if path.name == "parity.json":
            raise OSError(number, os.strerror(number), str(path))
        write_text(path, text)

    monkeypatch.setattr(Path, "write_text", full)
    message = refused(tmp_path, *MICRO, RANDOM)
    assert message == f"{os.strerror(number)}: {tmp_path / 'bundle'}"


def test_a_bundle_is_replaced_whole_or_stays(tmp_path, sizes, limit_file_size):
    out = tmp_path / "bundle"
    converted(*MICRO, RANDOM, f"--out={out}")
    assert "pass --overwrite" in refused(tmp_path, *WIDE)
    assert "no such file" in refused(
        tmp_path, *MICRO, "--overwrite", "--checkpoint=/none.pth"
    )
    limit_file_size(sizes[" ".join(WIDE)]["saved_model.pb"])
    assert os.strerror(errno.EFBIG) in refused(tmp_path, *WIDE, "--overwrite")
    limit_file_size(resource.RLIM_INFINITY)
    converted(*MICRO, "--checkpoint=random:1", "--overwrite", f"--out={out}")
    assert "random:1" in (out / "README.md").read_text()
    assert [path.name for path in tmp_path.iterdir()] == ["bundle"]


def test_overwrite_replaces_bundles_only(tmp_path):
    (tmp_path / "bundle").mkdir()
    (tmp_path / "bundle/thesis.tex").write_text("three years")
    message = refused(tmp_path, *MICRO, RANDOM, "--overwrite")
    assert "holds thesis.tex: not a bundle" in message
    (tmp_path / "bundle/thesis.tex").unlink()
    (tmp_path / "bundle").rmdir()
    (tmp_path / "bundle").write_text("a file")
    message = refused(tmp_path, *MICRO, RANDOM, "--overwrite")
    assert message.endswith("bundle is a file; expected: a folder to write")


@pytest.mark.parametrize(
    ("number", "step"),
    [
        (signal.SIGINT, "write the SavedModel"),
        (signal.SIGTERM, "read back what was written"),
    ],
)
def test_a_signal(number, step, tmp_path):
    process = subprocess.Popen(
        [sys.executable, "convert.py", *WIDE, f"--out={tmp_path / 'bundle'}"],
        cwd=ROOT, stderr=subprocess.PIPE, stdout=subprocess.PIPE,
    )  # fmt: skip
    seen = b""
    while step.encode() not in seen:
        read = os.read(process.stderr.fileno(), 1024)
        assert read, f"ended before it came to {step!r}: {seen.decode()}"
        seen += read
    process.send_signal(number)
    out, err = process.communicate()
    assert process.returncode == 128 + number
    assert out == b""
    assert err.decode().endswith(
        f"\nconvert.py: stopped by {number.name}; nothing was written\n"
    )
    assert b"Traceback" not in err
    assert b".py:" not in seen + err.replace(b"convert.py:", b"")  # a library's notes
    assert tree(tmp_path) == {}


def lost(progress):
    with contextlib.suppress(KeyboardInterrupt):
        signal.raise_signal(signal.SIGINT)
    progress("the next step")


def changed(progress):
    try:
        signal.raise_signal(signal.SIGINT)
    except KeyboardInterrupt as error:
        raise SystemError("bad argument to internal function") from error


@pytest.mark.parametrize("compiled_code", [lost, changed])
def test_a_stop_is_one_whatever_compiled_code_makes_of_it(
    compiled_code, tmp_path, monkeypatch
):
    def convert(*_, progress, **__):
        compiled_code(progress)

    monkeypatch.setattr("vit_tf.pipeline.convert", convert)
    result = run(*MICRO, RANDOM, f"--out={tmp_path / 'bundle'}")
    assert result.code == 130
    assert result.err.endswith("convert.py: stopped by SIGINT; nothing was written\n")
