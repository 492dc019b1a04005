"""Who works in a folder."""

import os
import subprocess
import sys

import pytest

from vit_tf.batch import driver, ledger, presence
from vit_tf.export.formats import while_parent_lives

HOLDER = """
import sys
from pathlib import Path
from vit_tf.batch import presence
with presence.working(Path(sys.argv[1])):
    print("at work", flush=True)
    sys.stdin.read()
"""


@pytest.fixture
def worker(tmp_path):
    process = subprocess.Popen(
        [sys.executable, "-c", HOLDER, tmp_path],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    )
    assert process.stdout.readline() == b"at work\n"
    yield process
    process.kill()
    process.communicate()


def test_a_process_at_work_is_waited_for_until_it_is_no_more(worker, tmp_path):
    assert not presence.wait_alone(tmp_path, 0)
    with presence.working(tmp_path):  # several may
        pass
    worker.kill()
    assert presence.wait_alone(tmp_path, 60)


def test_a_converters_process_ends_with_the_one_that_began_it(tmp_path):
    script = tmp_path / "converter.py"
    script.write_text("import time; print('at work', flush=True); time.sleep(60)")
    command = [sys.executable, while_parent_lives.__file__, script]
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as process:
        assert process.stdout.readline() == b"at work\n"
        process.stdin.close()  # as the system does it for a process that is killed
        assert process.wait(30) == 1


def test_a_converters_process_ends_as_the_converter_does(tmp_path):
    (tmp_path / "of_its_own.py").write_text("import sys; sys.exit(str(sys.argv[1:]))")
    command = [sys.executable, while_parent_lives.__file__, "-m", "of_its_own", "--a"]
    given, kept = os.pipe()
    done = subprocess.run(
        command, env={"PYTHONPATH": str(tmp_path)}, stdin=given, capture_output=True,
        text=True,
    )  # fmt: skip
    os.close(given)
    os.close(kept)
    assert (done.returncode, done.stderr) == (1, "['--a']\n")


def test_no_batch_begins_beside_the_workers_of_another(worker, tmp_path, monkeypatch):
    monkeypatch.setattr(driver, "PATIENCE", 0)
    said = "workers of an earlier run still write there"
    with (
        ledger.opened(tmp_path / "ledger.jsonl") as book,
        pytest.raises(driver.BatchError, match=said),
    ):
        driver.missing([], tmp_path, book)
