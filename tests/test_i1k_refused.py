"""What `i1k_eval` does not evaluate, and what it says of it."""

import json
import shutil
import sys

import numpy as np
import pytest
from i1k_bundles import change_data, micro, read, refused
from i1k_images import in_memory

from i1k_eval import evaluate as command
from i1k_eval.errors import EvaluationError
from i1k_eval.evaluation import evaluate
from i1k_eval.ported import Ported
from vit_tf.export.bundle import CONFIG

pytestmark = pytest.mark.usefixtures("graphs_as_traced")


@pytest.fixture(scope="module")
def bundle(tmp_path_factory):
    return micro(tmp_path_factory)


@pytest.fixture
def copy(bundle, tmp_path):
    return shutil.copytree(bundle, tmp_path / "copy")


def test_a_label_beyond_the_models_classes_is_refused(bundle, tmp_path):
    images = in_memory(12, labels=12)
    with pytest.raises(EvaluationError, match=r"^10\.png: label 10 found; expected: "):
        evaluate(Ported(bundle), images, tmp_path / "new" / "folder", batch_size=32)
    assert list(tmp_path.iterdir()) == []


def test_runs_are_not_mixed(bundle, copy, tmp_path):
    images, folder = in_memory(8), tmp_path / "out"
    evaluate(Ported(bundle), images, folder)
    change_data(copy, crop_pct=1.0)
    with pytest.raises(EvaluationError, match="is of another run: bundle: '"):
        evaluate(Ported(copy), images, folder)
    with pytest.raises(EvaluationError, match="batch_size: 32 found, 4 expected"):
        evaluate(Ported(bundle), images, folder, batch_size=4)
    with pytest.raises(EvaluationError, match="images: 8 found, 5 expected; names: "):
        evaluate(Ported(bundle), images, folder, limit=5)
    labels = tmp_path / "labels.txt"
    labels.write_text("0\n")
    with pytest.raises(EvaluationError, match=r"labels: None found, '.*txt sha256:"):
        evaluate(Ported(bundle), images, folder, opened_with={"labels": str(labels)})
    assert read(folder)[0]["images"] == 8
    results = evaluate(Ported(bundle), images, folder, limit=5, overwrite=True)
    assert results["images"] == read(folder)[0]["images"] == 5


def test_results_of_a_run_that_is_begun_anew_do_not_stay(bundle, tmp_path):
    evaluate(Ported(bundle), in_memory(8), tmp_path)
    with pytest.raises(EvaluationError, match="label 10 found"):
        evaluate(
            Ported(bundle), in_memory(12, labels=12), tmp_path, batch_size=8,
            overwrite=True,
        )  # fmt: skip
    assert [path.name for path in tmp_path.iterdir()] == ["predictions.jsonl"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((), "--bundle is missing: what convert.py wrote"),
        (("--bundle=x",), "--data is missing: the images"),
        (("--bundle=x", "--data=y", "--out="), "--out is missing: folder for"),
        (("x",), "'x' found; expected: flags only, --NAME=VALUE"),
        (("--bundle=x", "--data=y", "--limit=-1"), "--limit=-1 found; expected: 0 or"),
        (("--bundle=x", "--data=y", "--threads=-1"), "--threads=-1 found; expected: "),
        (("--bundle=x", "--data=y", "--batch_size=0"), "flag --batch_size=0: "),
        (
            ("--bundle=x", "--data=y", "--checkpoint=z"),
            "--checkpoint found; expected: --reference with it",
        ),
        (
            ("--bundle=x", "--data=y", "--limit=1", "--record=z"),
            "--record found; expected: no --limit with it",
        ),
        (
            ("--bundle=a/x", "--bundle=b/x", "--data=y"),
            "several bundles named x found; expected: names that differ",
        ),
        (("--bundle=nowhere", "--data=y"), "nowhere is not a bundle of vit_tf: "),
    ],
)
def test_what_is_asked_for_wrongly_is_refused(arguments, message):
    assert refused(*arguments).startswith(message)


def test_a_data_set_that_is_not_there_is_refused(bundle, tmp_path):
    out = tmp_path / "out"
    assert "nowhere" in refused(f"--bundle={bundle}", "--data=nowhere", f"--out={out}")
    assert not out.exists()


def test_a_bundle_that_classifies_no_images_is_refused(copy):
    change_data(copy, mean=None, std=None)
    with pytest.raises(EvaluationError, match="no mean and no std found in "):
        Ported(copy)
    change_data(copy, mean=[0.5] * 3, std=[0.5] * 3, crop_pct=None)
    with pytest.raises(EvaluationError, match="no crop_pct found in "):
        Ported(copy)
    (copy / CONFIG).write_text('{"data": {"mean": [0], "std": [1]}, "model": {}}')
    with pytest.raises(EvaluationError, match=r"KeyError\('num_classes'\)"):
        Ported(copy)
    described = {"data": {"mean": [0], "std": [1]}, "model": {"num_classes": 0}}
    (copy / CONFIG).write_text(json.dumps(described))
    with pytest.raises(EvaluationError, match="a model without a classifier found"):
        Ported(copy)


def test_a_preprocessing_that_there_is_not_is_refused(bundle, copy):
    change_data(copy, crop_mode="round", interpolation="nearest")
    message = refused(f"--bundle={copy}", "--data=x")
    assert message.startswith(f"{copy / CONFIG}: data: ")
    assert "crop_mode='round' found" in message
    assert "interpolation='nearest' found" in message


def test_logits_of_another_number_are_refused(copy):
    described = json.loads((copy / CONFIG).read_text())
    described["model"]["num_classes"] = 7
    (copy / CONFIG).write_text(json.dumps(described))
    with pytest.raises(EvaluationError, match=r"logits \(2, 10\) found, \(2, 7\) exp"):
        Ported(copy).logits(np.zeros((2, 32, 32, 3), np.float32))


def test_what_the_reference_needs_is_said(monkeypatch):
    monkeypatch.delitem(sys.modules, "i1k_eval.reference", raising=False)
    monkeypatch.setitem(sys.modules, "PIL", None)
    said = refused("--bundle=x", "--data=y", "--reference")
    assert said == "--reference needs PIL: pip install 'vit_tf[convert,eval]'"


def test_a_run_that_is_stopped_says_that_it_goes_on(monkeypatch, capsys):
    def interrupted(argv):
        raise KeyboardInterrupt

    monkeypatch.setattr(command, "main", interrupted)
    with pytest.raises(SystemExit) as ended:
        command.run(["evaluate"])
    assert ended.value.code == 130
    assert "the same command goes on from here" in capsys.readouterr().err


def test_a_damaged_bundle_is_refused(copy):
    (copy / "saved_model.pb").write_bytes(b"no graph")
    with pytest.raises(EvaluationError, match=f"^{copy}: "):
        Ported(copy)
