"""convert.py in this process, and what a refused command must leave behind.

As a script: runs each list of arguments in the JSON on stdin, prints their results.
"""

import contextlib
import dataclasses
import io
import json
import signal
import sys
import time
from pathlib import Path

from absl import flags
from absl.testing import flagsaver

import convert
from vit_tf import quiet

ROOT = Path(convert.__file__).parent
MODEL = "deit_tiny_patch16_224"
ARGUMENTS = {
    "embed_dim": 24, "depth": 2, "num_heads": 3, "img_size": 32, "num_classes": 7,
}  # fmt: skip
MICRO = [
    f"--model={MODEL}",
    *(f"--config.model.{name}={value}" for name, value in ARGUMENTS.items()),
]


@dataclasses.dataclass(frozen=True)
class Result:
    code: int
    out: str
    err: str


def run(*arguments: object) -> Result:
    """What `python convert.py ARGUMENTS` does, but for its start."""
    out, err, argv = io.StringIO(), io.StringIO(), sys.argv
    handlers = {n: signal.getsignal(n) for n in (signal.SIGINT, signal.SIGTERM)}
    saved, hook = flagsaver.save_flag_values(), sys.unraisablehook
    sys.argv = ["convert.py", *map(str, arguments)]
    code: object = "convert.py returned, and said no exit code"
    try:
        with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
            convert.run()
    except SystemExit as stop:
        code = stop.code or 0
    finally:
        sys.argv, sys.unraisablehook = argv, hook
        for number, handler in handlers.items():
            signal.signal(number, handler)
        flagsaver.restore_flag_values(saved)
        flags.FLAGS.unparse_flags()
    if isinstance(code, str):  # as the interpreter does with it
        return Result(1, out.getvalue(), err.getvalue() + code)
    return Result(code, out.getvalue(), err.getvalue())


def converted(*arguments: object) -> str:
    """What a command that must succeed prints."""
    result = run(*arguments)
    assert result.code == 0, result.err
    return result.out


def refused(folder: Path, *arguments: object) -> str:
    """The one message of a command that must fail and leave `folder` as it is."""
    before = tree(folder)
    result = run(f"--out={folder / 'bundle'}", *arguments)
    assert result.code == 1
    assert result.out == ""
    assert "Traceback" not in result.err
    assert result.err.count("error: ") == 1
    assert tree(folder) == before
    return result.err.partition("convert.py: error: ")[2]


def tree(folder: Path) -> dict[str, bytes]:
    """Every file and folder below `folder`, with what the files hold."""
    return {
        str(path.relative_to(folder)): path.read_bytes() if path.is_file() else b""
        for path in folder.rglob("*")
    }


if __name__ == "__main__":
    quiet.import_tensorflow()
    time.sleep = lambda seconds: None  # a hub that is down is waited for, and longer
    results = [run(*arguments) for arguments in json.load(sys.stdin)]
    json.dump([dataclasses.asdict(result) for result in results], sys.stdout)
