"""Remote files: whole, once, and one error where they cannot be had."""

import hashlib
import shutil
import threading
from collections import namedtuple

import numpy as np
import pytest
from fake_server import Served, serving
from safetensors.numpy import save
from test_checkpoints import ARRAYS, assert_same

from vit_tf import checkpoints
from vit_tf.checkpoints import download, errors
from vit_tf.checkpoints.errors import DownloadError

CONTENT = np.random.default_rng(0).bytes(3_000_000)
DIGEST = hashlib.sha256(CONTENT).hexdigest()


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("VIT_TF_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(download, "PAUSE", 0)
    return tmp_path / "cache"


@pytest.fixture
def served():
    files = {}
    with serving(files) as (address, requests):
        yield files, address, requests


def refused(url, *expected):
    with pytest.raises(DownloadError) as raised:
        checkpoints.fetch(url)
    message = str(raised.value)
    assert message.startswith(f"{url}: ")
    assert [part for part in expected if part not in message] == []
    assert "\n" not in message


def test_a_file_is_fetched_once(served, cache):
    files, address, requests = served
    files["/a/b.bin"] = Served(CONTENT)
    seen = []
    url = f"{address}/a/b.bin"
    path = checkpoints.fetch(url, lambda done, total: seen.append((done, total)))
    assert path.name == "b.bin"
    assert path.read_bytes() == CONTENT
    assert seen[-1] == (len(CONTENT), len(CONTENT))
    assert seen == sorted(seen)
    assert checkpoints.fetch(url) == path
    assert len(requests) == 1
    assert [p.name for p in path.parent.iterdir()] == ["b.bin"]
    assert path.is_relative_to(cache)


def test_checkpoints_are_read_where_they_are(served):
    files, address, _ = served
    files["/model.safetensors"] = Served(save(ARRAYS))
    contents = checkpoints.open_checkpoint(f"{address}/model.safetensors?download=true")
    assert_same(contents.tensors, ARRAYS)
    assert contents.path.name == "model.safetensors"


def test_a_bucket_of_google(served, monkeypatch):
    files, address, requests = served
    monkeypatch.setenv("VIT_TF_GCS_ENDPOINT", address)
    files["/vit_models/augreg/B_16%20x.npz"] = Served(CONTENT)
    path = checkpoints.fetch("gs://vit_models/augreg/B_16 x.npz")
    assert path.name == "B_16 x.npz"
    assert path.read_bytes() == CONTENT
    assert requests == [("/vit_models/augreg/B_16%20x.npz", "")]


def test_a_bucket_without_a_path():
    refused("gs://vit_models", "gs://BUCKET/PATH expected")
    refused("https://example.org/", "no file is named")
    refused("https://example.org/%2e%2e", "no file is named")


def test_a_local_path_is_as_it_is(tmp_path):
    assert checkpoints.fetch(tmp_path / "none") == tmp_path / "none"


def test_what_is_cut_off_is_resumed(served):
    files, address, requests = served
    files["/b.bin"] = Served(CONTENT, cuts=[1_000_000, 500_000])
    assert checkpoints.fetch(f"{address}/b.bin").read_bytes() == CONTENT
    ranges = [asked for _, asked in requests]
    assert ranges == ["", "bytes=1000000-", "bytes=1500000-"]


def test_a_later_call_goes_on(served):
    files, address, requests = served
    files["/b.bin"] = Served(CONTENT, cuts=[1_000_000], status=[])
    files["/b.bin"].cuts += [0] * (download.ATTEMPTS - 1)
    url = f"{address}/b.bin"
    refused(url, "1,000,000 bytes found, 3,000,000 expected; tried 5 times, 1,000,000")
    assert checkpoints.fetch(url).read_bytes() == CONTENT
    assert requests[-1] == ("/b.bin", "bytes=1000000-")


@pytest.mark.parametrize(
    "server",
    [
        dict(ranges=False),
        dict(version=""),
        dict(version='W/"weak"'),
    ],
)
def test_a_server_that_cannot_go_on_sends_it_again(server, served):
    files, address, _ = served
    files["/b.bin"] = Served(CONTENT, cuts=[1_000_000], **server)
    assert checkpoints.fetch(f"{address}/b.bin").read_bytes() == CONTENT


def test_a_file_that_has_changed_is_sent_again(served):
    files, address, _ = served
    files["/b.bin"] = Served(CONTENT[::-1], cuts=[1_000_000, 0, 0, 0, 0])
    url = f"{address}/b.bin"
    refused(url, "bytes are kept")
    files["/b.bin"] = Served(CONTENT, version='"two"')
    assert checkpoints.fetch(url).read_bytes() == CONTENT


@pytest.mark.parametrize(
    ("server", "expected"),
    [
        (dict(length=len(CONTENT) + 9), "3,000,000 bytes found, 3,000,009 expected"),
        (dict(status=[404]), "the server answers 404 Not Found"),
        (dict(status=[403]), "the server answers 403 Forbidden"),
        (dict(status=[500] * 5), "the server answers 500 Internal Server Error; tried"),
        (dict(cuts=[1000, 0, 0, 0, 0]), "tried 5 times, 1,000 bytes are kept"),
        (
            dict(location="ftp://127.0.0.1/x"),
            "leads to ftp://127.0.0.1/x; expected: ht",
        ),
        (dict(location="file:///etc/passwd"), "the server answers 302"),
    ],
)
def test_a_file_that_cannot_be_had(server, expected, served, cache):
    files, address, _ = served
    files["/b.bin"] = Served(CONTENT, **server)
    refused(f"{address}/b.bin", expected)
    assert list(cache.rglob("b.bin")) == []


def test_a_server_that_is_down_for_a_moment(served):
    files, address, requests = served
    files["/b.bin"] = Served(CONTENT, status=[503, 429, 500])
    assert checkpoints.fetch(f"{address}/b.bin").read_bytes() == CONTENT
    assert len(requests) == 4


def test_a_server_that_sends_another_part(served):
    files, address, _ = served
    files["/b.bin"] = Served(CONTENT, cuts=[1_000_000], start=5)
    assert checkpoints.fetch(f"{address}/b.bin").read_bytes() == CONTENT


def test_more_is_kept_than_there_is(served, cache):
    files, address, _ = served
    url = f"{address}/b.bin"
    files["/b.bin"] = Served(CONTENT, length=len(CONTENT) + 9)
    refused(url, "bytes are kept")
    files["/b.bin"].length = None
    assert checkpoints.fetch(url).read_bytes() == CONTENT


def test_a_length_that_is_too_short_is_found_by_the_reader(served):
    files, address, _ = served
    whole = save(ARRAYS)
    files["/b.safetensors"] = Served(whole, length=len(whole) - 9)
    with pytest.raises(errors.CorruptCheckpointError, match="bytes expected"):
        checkpoints.open_checkpoint(f"{address}/b.safetensors")


def test_a_length_that_is_not_stated(served):
    files, address, _ = served
    files["/b.bin"] = Served(CONTENT, chunked=True)
    assert checkpoints.fetch(f"{address}/b.bin").read_bytes() == CONTENT


def test_nothing_answers():
    with serving({}) as (address, _):
        pass
    refused(f"{address}/b.bin", "Connection refused); tried 5 times, 0 bytes are kept")


def test_the_digest_in_a_name_is_checked(served, cache):
    files, address, _ = served
    right = f"/deit-{DIGEST[:8]}.pth"
    files[right] = files["/deit-a1311bcf.pth"] = Served(CONTENT)
    files["/deit-20240131.pth"] = Served(CONTENT)  # a date
    for name in (right, "/deit-20240131.pth"):
        assert checkpoints.fetch(address + name).read_bytes() == CONTENT
    url = f"{address}/deit-a1311bcf.pth"
    refused(url, f"sha256 {DIGEST} found, a1311bcf... expected, as its name says")
    assert list(cache.rglob("deit-a1311bcf.pth")) == []


def test_a_disk_that_is_full(served, monkeypatch):
    files, address, _ = served
    files["/b.bin"] = Served(CONTENT)
    usage = namedtuple("usage", "free")(1000)
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage)
    refused(f"{address}/b.bin", "3,000,000 bytes announced, 1,000 free on the disk")


def test_a_cache_that_cannot_be_written(served, cache):
    files, address, _ = served
    files["/b.bin"] = Served(CONTENT)
    cache.write_text("a file")
    refused(f"{address}/b.bin", f"cannot be kept in {cache}: ")


def test_processes_that_want_the_same_file_fetch_it_once(served, cache):
    files, address, requests = served
    files["/b.bin"] = Served(CONTENT)
    found = []

    def fetch():
        found.append(checkpoints.fetch(f"{address}/b.bin").read_bytes())

    threads = [threading.Thread(target=fetch) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found == [CONTENT] * 4
    assert len(requests) == 1
    assert [path.name for path in cache.rglob("*") if path.is_file()] == ["b.bin"]
