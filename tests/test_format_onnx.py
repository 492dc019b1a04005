"""ONNX: what ONNX Runtime computes of the file is the same model."""

import sys

import pytest
from kinds_in_one import errors, images

from vit_tf.export.formats import onnx


@pytest.fixture(scope="module")
def written(kinds, tmp_path_factory):
    """A file, and the models that are in it."""
    saved_model, models = kinds
    path = tmp_path_factory.mktemp("onnx") / "model.onnx"
    onnx.write(saved_model, path)
    return path, models


@pytest.mark.parametrize("batch", [1, 3])
def test_each_kind_gives_its_logits(written, batch):
    path, models = written
    found = errors(onnx.run(path, images(batch)), images(batch), models)
    assert max(found.values()) < 1e-6, found


@pytest.mark.parametrize(
    ("package", "use"),
    [
        ("tf2onnx", lambda path: onnx.write(path, path / "model.onnx")),
        ("onnxruntime", lambda path: onnx.run(path / "model.onnx", images(1))),
    ],
)
def test_a_missing_package_is_named(tmp_path, monkeypatch, package, use):
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(ImportError, match=f"{package} is not installed: pip install"):
        use(tmp_path)


def test_what_the_converter_refuses_is_said_and_nothing_stays(tmp_path):
    (tmp_path / "variables").mkdir()
    with pytest.raises(ValueError, match=r"^tf2onnx cannot convert this model: .*"):
        onnx.write(tmp_path, tmp_path / "model.onnx")
    assert [path.name for path in tmp_path.iterdir()] == ["variables"]
