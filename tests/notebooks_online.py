"""The notebooks as they run where there is a network, with hubs on this machine.

    python -m pytest tests/notebooks_online.py -k serving

What timm's tags and the AugReg release have is random here, under the same addresses.
The models have their real size, which takes a minute or two each: so it is run by name.
"""

import functools
import io
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path

import flax_vit
import numpy as np
import pytest
from fake_hub import serving
from safetensors.numpy import save

import vit_tf
from vit_tf import source
from vit_tf.augreg import checkpoint, index

ROOT = Path(__file__).parent.parent
INDEX = ROOT / "examples/augreg/index.csv"
sys.path.insert(0, str(ROOT / "notebooks"))

import refresh  # noqa: E402


class Hubs(Mapping[str, bytes]):
    """Every file that timm and the release have, made when it is asked for."""

    def __getitem__(self, address: str) -> bytes:
        owner, *_, name = address.split("/")
        if owner == "timm" and name == "model.safetensors":
            return timm_weights(address.split("/")[1])
        if owner == "vit_models":
            return INDEX.read_bytes() if name == "index.csv" else augreg_weights(name)
        raise KeyError(address)

    def __iter__(self) -> Iterator[str]:
        raise NotImplementedError("they are not listed")

    def __len__(self) -> int:
        raise NotImplementedError("they are not counted")


@functools.cache
def timm_weights(name: str) -> bytes:
    return save(dict(source.read(vit_tf.get_config(name), "random:0").tensors))


@functools.cache
def augreg_weights(name: str) -> bytes:
    (row,) = (
        row for row in index.read_index(INDEX) if f"{row.adapt_filename}.npz" == name
    )
    model = vit_tf.get_config(checkpoint.architecture(row, "finetuned")).model
    kind = flax_vit.Kind(
        image=model.img_size,
        patch=model.patch_size,
        width=model.embed_dim,
        depth=model.depth,
        heads=model.num_heads,
        hidden=4 * model.embed_dim,
        classes=model.num_classes,
    )
    file = io.BytesIO()
    np.savez(file, **flax_vit.random_parameters(kind))
    return file.getvalue()


@pytest.mark.parametrize("name", refresh.names())
def test_a_notebook_runs_where_there_is_a_network(name, tmp_path):
    with serving(Hubs()) as (endpoint, requests):
        network = {
            "HF_ENDPOINT": endpoint,
            "HF_HOME": str(tmp_path / "hub"),
            "HF_HUB_DISABLE_XET": "1",
            "VIT_TF_CACHE": str(tmp_path / "cache"),
            "VIT_TF_GCS_ENDPOINT": endpoint,
            "VIT_TF_NETWORK": "1",
        }
        refresh.run(refresh.read_source(name), network)
    assert requests
