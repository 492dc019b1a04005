"""TensorFlow.js: what its converter writes is the same model, and its own operations.

That its backends give the same is seen by hand: `in_node.py`.
"""

import base64
import json
import sys

import pytest
from kinds_in_one import errors, images, micro_model

from vit_tf.export import saved_model
from vit_tf.export.formats import own_process, tfjs

ACTIVATIONS = {"Relu", "Relu6", "Elu", "LeakyRelu", "Sigmoid", "Prelu"}  # TF.js's


@pytest.fixture(scope="module")
def written(kinds, tmp_path_factory):
    """A folder, and the models that are in it."""
    saved_model, models = kinds
    path = tmp_path_factory.mktemp("tfjs") / "tfjs"
    tfjs.write(saved_model, path)
    return path, models


@pytest.mark.parametrize("batch", [1, 3])
def test_each_kind_gives_its_logits(written, batch):
    path, models = written
    found = errors(tfjs.run(path, images(batch)), images(batch), models)
    assert max(found.values()) < 1e-6, found


def test_two_writes_are_equal(written, kinds, tmp_path):
    tfjs.write(kinds[0], tmp_path / "again")
    folders = written[0], tmp_path / "again"
    contents = [{p.name: p.read_bytes() for p in f.iterdir()} for f in folders]
    assert contents[0] == contents[1]
    assert len(contents[0]) > 1


def test_what_is_fused_is_what_tensorflow_js_can(written):
    """Of a product and a bias of rank one, and of its activations."""
    model = json.loads((written[0] / "model.json").read_text())
    shapes = {w["name"]: w["shape"] for w in model["weightsManifest"][0]["weights"]}
    fused = [n for n in model["modelTopology"]["node"] if n["op"].startswith("_Fused")]
    assert len(fused) > 30
    for node in fused:
        names = node["attr"]["fused_ops"]["list"]["s"]
        bias, *rest = (base64.b64decode(name).decode() for name in names)
        assert bias == "BiasAdd"
        assert set(rest) <= ACTIVATIONS, node["name"]
        assert len(shapes[node["input"][2]]) == 1, node["name"]


def test_a_missing_package_is_named(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "tensorflowjs", None)
    with pytest.raises(ImportError, match="tensorflowjs is not installed: pip install"):
        tfjs.write(tmp_path, tmp_path / "tfjs")


def test_what_the_converter_refuses_is_said_and_nothing_stays(tmp_path):
    model = micro_model("vit_tiny_patch16_224", "mixed_bfloat16")
    saved_model.save(model, tmp_path / "saved_model")
    message = "^tensorflowjs cannot convert this model: .*bfloat16 not supported"
    with pytest.raises(ValueError, match=message):
        tfjs.write(tmp_path / "saved_model", tmp_path / "tfjs")
    assert [path.name for path in tmp_path.iterdir()] == ["saved_model"]
    assert not {"tensorflowjs", "jax"} & set(sys.modules)


def test_weights_that_no_protobuf_holds_are_refused(kinds, tmp_path, monkeypatch):
    monkeypatch.setattr(own_process, "LARGEST", 1000)
    message = r"^tensorflowjs: \d+ bytes of weights found, less than 1000 expected"
    with pytest.raises(ValueError, match=message):
        tfjs.write(kinds[0], tmp_path / "tfjs")
