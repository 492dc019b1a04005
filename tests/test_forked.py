"""Commands that are forked are as if they had been started by themselves."""

import os
import signal
import subprocess
import sys
import time

import forked
import psutil
import pytest

SAYS = """
import os, sys
print(sys.argv, os.getcwd(), os.environ.get("GIVEN"), sys.stdin.read(), __name__)
print("an error", file=sys.stderr)
{end}
"""


@pytest.mark.parametrize(
    "end",
    [
        "",
        "sys.exit(3)",
        "sys.exit('why')",
        "raise ValueError('why')",
        "os.kill(os.getpid(), 9)",
    ],
)
@pytest.mark.parametrize("kind", ["-c", "-m", "script"])
def test_what_a_command_gives(kind, end, tmp_path):
    code = SAYS.format(end=end)
    (tmp_path / "said.py").write_text(code)
    given = {"-c": ["-c", code], "-m": ["-m", "said"], "script": [tmp_path / "said.py"]}
    command = [*given[kind], "one", "--two=3"]
    options = dict(cwd=tmp_path, env={**os.environ, "GIVEN": "x"}, input="text")
    expected = subprocess.run(
        [sys.executable, *command], **options, capture_output=True, text=True
    )
    found = forked.run(*command, **options, imported=forked.TENSORFLOW)
    assert found.returncode == expected.returncode
    assert found.stdout == expected.stdout
    last = [done.stderr.splitlines()[-1] for done in (found, expected)]
    assert last[0] == last[1]


def test_what_must_succeed_and_does_not_is_an_error():
    with pytest.raises(subprocess.CalledProcessError, match="exit status 3"):
        forked.run("-c", "raise SystemExit(3)", check=True)


def test_what_is_imported():
    code = (
        "import sys; print(*sorted({'tensorflow', 'torch', 'vit_tf'} & {*sys.modules}))"
    )
    found = {
        name: forked.run("-c", code, imported=name).stdout for name in forked.IMPORTED
    }
    assert found == {
        forked.TENSORFLOW: "tensorflow\n",
        forked.TIMM: "tensorflow torch vit_tf\n",
    }


def test_a_signal_reaches_a_command_and_what_stands_for_it():
    waits = ["-c", "import time; print('waits', flush=True); time.sleep(600)"]
    process = forked.Popen(*waits)
    assert process.poll() is None
    process.send_signal(signal.SIGTERM)
    assert process.wait() == process.poll() == -signal.SIGTERM


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL])
def test_what_stands_for_a_command_takes_it_along(number, tmp_path):
    (tmp_path / "waits.py").write_text(
        "import os, time; os.mkdir(str(os.getpid())); time.sleep(600)"
    )
    process = subprocess.Popen(
        forked.command(tmp_path / "waits.py"), cwd=tmp_path, start_new_session=True
    )
    while not (found := [path.name for path in tmp_path.glob("[0-9]*")]):
        assert process.poll() is None
        time.sleep(0.01)
    process.send_signal(number)
    assert process.wait() == -number
    while psutil.pid_exists(int(found[0])):
        time.sleep(0.01)
