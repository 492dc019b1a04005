"""Commands of Python in processes that need not import what others have imported.

A process that is started spends most of a test on its imports of TensorFlow, torch and
timm. Here one process imports them, and forks for each command, which is safe as long
as TensorFlow computes nothing: until then it starts no thread.

    forked.run("-m", "vit_tf.parity", "--all")
    forked.run("-c", code, folder, imported=forked.TENSORFLOW)

What a command reads, writes and returns, and by what signal it ends, is as if it had
been started by itself. What depends on how it starts and what it imports (whether it
needs torch, what the terminal shows of it) is tested with `subprocess`.

As a script, `forked.py serve NUMBERS` is the process that imports and forks; where a
process is asked for, `forked.py run FOLDER COMMAND` stands for a command.
"""

import atexit
import contextlib
import functools
import gc
import importlib
import json
import os
import runpy
import select
import signal
import socket
import subprocess
import sys
import tempfile
import types
from collections.abc import Mapping
from pathlib import Path

TENSORFLOW = "tensorflow"  # and nothing of ours, neither torch nor timm
TIMM = "timm"  # torch, too, and of ours what lets timm be imported
IMPORTED = {  # each has what those before it have, too
    TENSORFLOW: ["tensorflow", "keras"],
    TIMM: ["vit_tf.reference"],
}
HIDDEN = ("matplotlib", "sklearn")  # from Keras: a kernel says how figures are drawn
STREAMS = ("stdin", "stdout", "stderr")
ROOT = Path(__file__).parent.parent


class Popen:
    """A command that runs; of `subprocess.Popen` what tests need of it.

    Args:
        arguments: Python's: `-c CODE`, `-m MODULE` or a script, and the command's own.
        imported: What is imported before it runs: a key of `IMPORTED`.
        input: Text for its standard input, which is empty else.
        cwd: The folder in which it runs: this process's, if not given.
        env: Its environment: this process's, if not given.
        as_traced: Whether its graphs run without being rewritten, as those of the
            fixture `graphs_as_traced`.
        server: The folder of a server: this process's, if not given.
    """

    def __init__(
        self,
        *arguments: object,
        imported: str = TIMM,
        input: str = "",
        cwd: os.PathLike | str = ".",
        env: Mapping[str, str] = os.environ,
        as_traced: bool = False,
        server: Path | None = None,
    ):
        self.args = [str(argument) for argument in arguments]
        self.returncode: int | None = None
        server = server or _server()
        self._folder = Path(tempfile.mkdtemp(dir=server))
        for name, text in zip(STREAMS, (input, "", ""), strict=True):
            (self._folder / name).write_text(text)
        asked = {
            "args": self.args,
            "cwd": os.path.abspath(cwd),
            "env": dict(env),
            "as_traced": as_traced,
        }
        (self._folder / "asked.json").write_text(json.dumps(asked))
        self._socket = socket.socket(socket.AF_UNIX)
        self._socket.connect(str(server / imported))
        self._lines = self._socket.makefile("rw")
        self._lines.write(f"{self._folder}\n")
        self._lines.flush()
        if not (line := self._lines.readline()):
            raise ConnectionError((server / "stderr").read_text())
        self.pid = int(line)

    @property
    def stdout(self) -> str:
        """What it wrote so far."""
        return (self._folder / "stdout").read_text()

    @property
    def stderr(self) -> str:
        """What it wrote so far."""
        return (self._folder / "stderr").read_text()

    def poll(self) -> int | None:
        """As `wait` gives it, or None while it runs."""
        if self.returncode is None and select.select([self._socket], [], [], 0)[0]:
            self.wait()
        return self.returncode

    def wait(self) -> int:
        """Its exit code, or the negative number of the signal that ended it."""
        if self.returncode is None:
            status = int(self._lines.readline())
            self.returncode = os.waitstatus_to_exitcode(status)
            self._lines.close()
            self._socket.close()
        return self.returncode

    def send_signal(self, number: int) -> None:
        if self.poll() is None:
            os.kill(self.pid, number)


def run(
    *arguments: object, check: bool = False, **options
) -> subprocess.CompletedProcess[str]:
    """A command that has run, and what it wrote.

    Args:
        arguments: As `Popen` takes them.
        check: Whether it must succeed.
        options: As `Popen` takes them.

    Raises:
        CalledProcessError: where it must succeed and did not.
    """
    process = Popen(*arguments, **options)
    code = process.wait()
    done = subprocess.CompletedProcess(
        process.args, code, process.stdout, process.stderr
    )
    if check and code:
        print(done.stderr)  # which pytest shows
        done.check_returncode()
    return done


def command(*arguments: object) -> list[str]:
    """What starts a process that stands for a command, and ends as this does.

    It passes on SIGINT and SIGTERM; where it is killed, so is the command.
    """
    script = [sys.executable, "-I", "-S", __file__, "run", str(_server())]
    return [*script, *map(str, arguments)]


def _stand_for(server: str, *arguments: str) -> int:
    process = Popen(*arguments, server=Path(server))
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda number, _: process.send_signal(number))
    if (code := process.wait()) < 0:
        if -code != signal.SIGKILL:
            signal.signal(-code, signal.SIG_DFL)
        os.kill(os.getpid(), -code)
    return code


@functools.cache
def _server() -> Path:
    """The folder with the sockets of this process's server, and what commands write."""
    folder = tempfile.TemporaryDirectory(prefix="forked")
    with contextlib.ExitStack() as opened:
        numbers = []
        for name in IMPORTED:
            listener = opened.enter_context(socket.socket(socket.AF_UNIX))
            listener.bind(f"{folder.name}/{name}")
            listener.listen()
            numbers.append(listener.fileno())
        errors = opened.enter_context(open(f"{folder.name}/stderr", "w"))
        process = subprocess.Popen(
            [sys.executable, __file__, "serve", *map(str, numbers)],
            stdin=subprocess.PIPE,
            stderr=errors,
            pass_fds=numbers,
        )

    def stop():
        process.stdin.close()
        process.wait()
        folder.cleanup()

    atexit.register(stop)
    return Path(folder.name)


def _serve(listeners: list[socket.socket]) -> Path | None:
    """Forks for each command that comes to the listeners.

    Returns:
        The folder of a command: in the process that is to run it. Nothing where there
        is nobody more who asks.
    """
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # for those here nobody waits
    for modules, listener in zip(IMPORTED.values(), listeners, strict=True):
        sys.modules.update(dict.fromkeys(HIDDEN))
        for module in modules:
            importlib.import_module(module)
        for module in HIDDEN:
            del sys.modules[module]
        gc.collect()
        gc.freeze()
        if listener is listeners[-1] or not os.fork():
            break
    while listener in select.select([listener, sys.stdin], [], [])[0]:
        connection, _ = listener.accept()
        if not os.fork():
            return _asked(connection)
        connection.close()
    return None


def _asked(connection: socket.socket) -> Path:
    """Forks once more, to tell what becomes of the command. As `_serve`."""
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    gone = contextlib.suppress(BrokenPipeError)  # who asked, who is told nothing then
    with gone, connection, connection.makefile("rw") as lines:
        folder = Path(lines.readline().rstrip("\n"))
        command = os.fork()
        if not command:
            return folder
        print(command, file=lines, flush=True)
        while (ended := os.waitpid(command, os.WNOHANG)) == (0, 0):
            if select.select([connection], [], [], 0.02)[0]:  # nobody asks any more
                os.kill(command, signal.SIGKILL)
        print(ended[1], file=lines, flush=True)
    os._exit(0)


def _run(folder: Path) -> None:
    """Becomes the command of a folder."""
    for number, name in enumerate(STREAMS):
        file = os.open(folder / name, os.O_RDWR | os.O_APPEND)
        os.dup2(file, number)
        os.close(file)
    asked = json.loads((folder / "asked.json").read_text())
    os.chdir(asked["cwd"])
    os.environ.clear()
    os.environ.update(asked["env"])
    if asked["as_traced"]:
        options = {"disable_meta_optimizer": True}
        sys.modules["tensorflow"].config.optimizer.set_experimental_options(options)
    given, *arguments = asked["args"]
    sys.path[0] = str(Path(given).parent)
    if given in ("-c", "-m"):
        sys.path[0] = asked["cwd"]
        what, *arguments = arguments
    also = os.environ.get("PYTHONPATH")
    sys.path[1:1] = also.split(os.pathsep) if also else []
    sys.argv = [given, *arguments]
    if given == "-c":
        sys.modules["__main__"] = main = types.ModuleType("__main__")
        exec(compile(what, "<string>", "exec"), main.__dict__)
    elif given == "-m":
        runpy.run_module(what, run_name="__main__", alter_sys=True)
    else:
        runpy.run_path(given, run_name="__main__")


if __name__ == "__main__":
    what, *given = sys.argv[1:]
    if what == "run":
        sys.exit(_stand_for(*given))
    sys.path[0] = str(ROOT)
    if asked := _serve([socket.socket(fileno=int(number)) for number in given]):
        _run(asked)
