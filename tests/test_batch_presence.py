"""Who works in a folder."""

import subprocess
import sys

import pytest

from vit_tf.batch import driver, ledger, presence

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


def test_no_batch_begins_beside_the_workers_of_another(worker, tmp_path, monkeypatch):
    monkeypatch.setattr(driver, "PATIENCE", 0)
    said = "workers of an earlier run still write there"
    with (
        ledger.opened(tmp_path / "ledger.jsonl") as book,
        pytest.raises(driver.BatchError, match=said),
    ):
        driver.missing([], tmp_path, book)
