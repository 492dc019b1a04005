"""Models of the Hugging Face hub: one on this machine, and none."""

import json
import os
import subprocess
import sys
import time

import numpy as np
import pytest
from cli import ROOT
from fake_hub import COMMIT, serving
from safetensors.numpy import save
from test_checkpoints import ARRAYS

from vit_tf import checkpoints
from vit_tf.checkpoints import errors

CODE = """
import json, sys, time
from vit_tf import checkpoints
results = []
for uri in sys.argv[1:]:
    start = time.monotonic()
    try:
        contents = checkpoints.open_checkpoint(uri)
        said = {
            "path": contents.path.name,
            "commit": contents.path.parent.name,
            "config": contents.config,
            "tensors": {n: t.tolist() for n, t in contents.tensors.items()},
        }
    except checkpoints.CheckpointError as error:
        said = {"error": str(error)}
    results.append(said | {"seconds": time.monotonic() - start})
print(json.dumps(results))
"""
INDEX = "model.safetensors.index.json"
SHARDS = {name: f"model-{number}.safetensors" for number, name in enumerate(ARRAYS)}
FILES = {
    "org/one/model.safetensors": save(ARRAYS),
    "org/one/config.json": b'{"model_type": "vit"}',
    f"org/many/{INDEX}": json.dumps({"weight_map": SHARDS}).encode(),
    f"org/lost/{INDEX}": json.dumps({"weight_map": SHARDS}).encode(),
    "org/none/README.md": b"nothing else",
} | {f"org/many/{file}": save({name: ARRAYS[name]}) for name, file in SHARDS.items()}
TENSORS = {name: array.tolist() for name, array in ARRAYS.items()}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("hub")


def opened(folder, endpoint, *uris, **environment):
    """What each is opened as, in a process that takes `endpoint` for the hub."""
    environment = {
        **os.environ,
        "PYTHONPATH": str(ROOT),
        "HF_ENDPOINT": endpoint,
        "HF_HOME": str(folder),
        "HF_HUB_DISABLE_XET": "1",
        **environment,
    }
    done = subprocess.run(
        [sys.executable, "-c", CODE, *uris],
        env=environment, capture_output=True, text=True, check=True,
    )  # fmt: skip
    return json.loads(done.stdout)


@pytest.fixture(scope="module")
def results(folder):
    uris = ["hf-hub:org/one", "hf-hub:org/many", "hf-hub:org/lost", "hf-hub:org/none"]
    uris += ["hf-hub:org/one@v1", "hf-hub:not a name"]
    with serving(FILES) as (endpoint, requests):
        found = opened(folder, endpoint, *uris)
    down = ["hf-hub:org/one", "hf-hub:org/two"]
    start = time.monotonic()
    found += opened(folder, endpoint, *down)
    found += opened(folder, endpoint, *down, HF_HUB_OFFLINE="1")
    assert time.monotonic() - start < 20
    return found, requests


def test_weights_and_config_are_fetched(results):
    (one, many, *_), _ = results
    assert one["tensors"] == many["tensors"] == TENSORS
    assert (one["path"], one["config"]) == ("model.safetensors", {"model_type": "vit"})
    assert (many["path"], many["config"]) == (INDEX, {})
    assert one["commit"] == many["commit"] == COMMIT


def test_a_revision_is_asked_for(results):
    found, requests = results
    assert found[4]["tensors"] == TENSORS
    assert "HEAD org/one@v1/model.safetensors" in requests


def test_what_the_hub_has_not_is_one_error(results):
    (_, _, lost, none, _, name, *_), _ = results
    assert lost["error"].startswith("hf-hub:org/lost: model-0.safetensors, model-1.saf")
    assert none["error"] == (
        "hf-hub:org/none: no weights found; expected: model.safetensors or "
        f"{INDEX} or pytorch_model.bin or pytorch_model.bin.index.json"
    )
    assert name["error"].startswith("hf-hub:not a name: Repo id must ")


def test_without_a_connection_the_cache_is_taken_at_once(results):
    found, _ = results
    for there, not_there in (found[6:8], found[8:10]):
        assert there["tensors"] == TENSORS
        assert there["config"] == {"model_type": "vit"}
        assert not_there["error"].startswith(
            "hf-hub:org/two: cannot be had, and is not in the cache: "
        )
        assert max(there["seconds"], not_there["seconds"]) < 5
    assert np.all([result["seconds"] < 5 for result in found])


def test_without_the_hubs_client(monkeypatch):
    monkeypatch.setitem(sys.modules, "huggingface_hub.errors", None)
    with pytest.raises(errors.DownloadError, match="needs huggingface_hub: pip inst"):
        checkpoints.fetch("hf-hub:org/one")
