"""ONNX: what ONNX Runtime computes of the file is the same model."""

import sys

import numpy as np
import pytest
from kinds_in_one import errors, images, save

from vit_tf.export.formats import onnx


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    """A file, another, and the models that both are of."""
    folder = tmp_path_factory.mktemp("onnx")
    models = save(folder / "saved_model")
    for name in ("one.onnx", "two.onnx"):
        onnx.write(folder / "saved_model", folder / name)
    return folder / "one.onnx", folder / "two.onnx", models


@pytest.mark.parametrize("batch", [1, 3])
def test_every_kind_gives_its_logits(written, batch):
    path, _, models = written
    found = errors(onnx.run(path, images(batch)), images(batch), models)
    assert max(found.values()) < 1e-6, found


def test_two_writes_give_the_same_but_for_names(written):
    """tf2onnx numbers what it makes, in no order of its own."""
    one, two, _ = written
    np.testing.assert_array_equal(onnx.run(one, images(3)), onnx.run(two, images(3)))


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
