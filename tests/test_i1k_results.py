"""What is made of predictions: accuracies, confusions, texts, tables."""

import fcntl
import json
import types

import numpy as np
import pytest

from i1k_eval import results, table
from i1k_eval.difference import Comparison, Side
from i1k_eval.errors import EvaluationError
from i1k_eval.predictions import Answer, Difference, Prediction, predictions_file
from i1k_eval.report import report
from i1k_eval.scores import Scores
from vit_tf.preprocessing import DataConfig

RUN = {"data": "images", "versions": {"pillow": "12.1.0"}}
PORTED = types.SimpleNamespace(
    name="micro",
    path="out/micro",
    described={"architecture": "deit_tiny_patch16_224", "tag": ""},
    parameters=1234567,
    data=DataConfig(pillow="13.0"),
    changed=[],
)


def prediction(name, labels, predicted, error="", original=None, difference=None):
    return Prediction(
        name,
        tuple(labels),
        Answer(error=error) if error else Answer((predicted, 9, 8), (3.0, 2.0, 1.0)),
        None if original is None else Answer((original, 9, 8), (3.0, 2.0, 1.0)),
        difference,
    )


PREDICTIONS = [
    prediction("a", [0], 0),
    prediction("b", [0], 1),
    prediction("c", [0], 1),
    prediction("d", [1], 1),
    prediction("e", [2], 9),
    prediction("f", [2, 3], 3),
    prediction("g", [2, 3], 9),
    prediction("h", [], 5),
    prediction("i", [4], 0, error="broken"),
]


def summary(predictions=PREDICTIONS, **options):
    options = {"label_names": {0: "tench", 1: "1"}, **options}
    return results.summary(RUN, PORTED, predictions, {"ported": 12.5}, **options)


def test_accuracies_are_of_what_has_labels_and_was_read():
    found = summary()
    assert found["ported"] == {
        "top1": 3 / 7, "top5": 3 / 7, "images": 7, "images_per_second": 12.5
    }  # fmt: skip
    assert found["original"] is found["comparison"] is None
    assert (found["images"], found["unlabelled"]) == (9, 1)
    assert found["unreadable"] == [{"name": "i", "ported": "broken"}]


def test_top_5_counts_what_is_among_the_best():
    found = summary([prediction("a", [9], 0), prediction("b", [7], 0)])
    assert (found["ported"]["top1"], found["ported"]["top5"]) == (0, 0.5)


def test_no_labels_have_no_accuracy():
    found = summary([prediction("a", [], 0)])
    assert found["ported"]["top1"] is None
    assert "top-1 %                      -" in report(found)


def test_confusions_the_most_frequent_first():
    rows = [tuple(row.values()) for row in summary()["confusions"]]
    assert rows == [([0], 1, 2), ([2], 9, 1), ([2, 3], 9, 1)]
    assert summary()["label_names"] == {"0": "tench", "1": "1"}


def test_worst_classes_the_worst_first():
    rows = [tuple(row.values()) for row in summary()["worst_classes"]]
    assert rows == [(0, 1 / 3, 3), (2, 1 / 3, 3), (3, 0.5, 2)]


def test_long_lists_are_cut_in_the_text():
    wrong = [prediction(str(i), [i], i + 1) for i in range(30)]
    found = summary([*wrong, prediction("x\ny", [0], 0, error="not\nprintable")])
    assert len(found["confusions"]) == len(found["worst_classes"]) == results.LISTED
    text = report(found)
    assert "confusions      1 x 0 (tench) -> 1\n" in text
    assert text.count("... and 10 more: see results.json") == 2
    assert "unreadable      x\\ny: not\\nprintable\n" in text


def compared(name, pixels, logits, starts="", original=1, layer=""):
    levels = 3 if pixels else 0
    difference = Difference(pixels, levels, logits, 10.0, starts, layer)
    return prediction(name, [1], 1, original=original, difference=difference)


def test_the_comparison_of_both_models():
    predictions = [
        compared("a", 0, 1e-6),
        compared("b", 7, 0.5, "pixels"),
        compared("c", 0, 2.0, "model", original=2, layer="blocks.0.attn"),
    ]
    found = summary(predictions, original_data=DataConfig(crop_pct=1.0))
    comparison = found["comparison"]
    assert comparison["images"] == 3
    assert comparison["disagreements"] == 1
    assert comparison["differing_pixels"] == 1
    assert comparison["largest_difference"] == {
        "logits": 2.0, "name": "c", "relative": 0.2
    }  # fmt: skip
    assert comparison["preprocessing"] == {"crop_pct": [1.0, 0.875]}
    assert [(row["name"], row["agree"]) for row in comparison["different"]] == [
        ("b", True), ("c", False)
    ]  # fmt: skip
    assert found["original"]["top1"] == 2 / 3
    text = report(found)
    assert "1 of 3 images (top-1)" in text
    assert "2.0e+00 (c), 2.0e-01 relative to the largest logit" in text
    assert "crop_pct: 1.0 in the original, 0.875 in the bundle" in text
    assert "Pillow 12.1.0 is installed, which resizes in the order of '9.5'" in text
    assert (
        "b: the same class, logits 5.0e-01 apart; starts in the pixels: 7 values, "
        "3 levels at most"
    ) in text
    assert "c: another class, logits 2.0e+00 apart; starts in the model: blocks" in text


def test_nothing_that_both_read_is_compared():
    alone = prediction("a", [1], 1, "broken", original=1)
    found = summary([alone], original_data=DataConfig())
    assert found["comparison"]["largest_difference"] is None
    assert "0 of 0 images (top-1)" in report(found)


def test_what_a_note_and_a_changed_file_say_is_printed():
    ported = types.SimpleNamespace(**{**vars(PORTED), "changed": ["saved_model.pb"]})
    options = dict(label_names={}, notes=("2 images have no label",))
    text = report(results.summary(RUN, ported, PREDICTIONS, {}, **options))
    assert "saved_model.pb: not what was compared with timm" in text
    assert "                2 images have no label\n" in text
    assert "images/s                     -" in text


def test_a_logit_that_is_no_number_is_a_difference_in_the_model():
    layers = types.SimpleNamespace(first_divergence=lambda pixels: "norm")
    comparison = Comparison(layers, DataConfig(), "float32", Scores())
    pixels, errors = np.zeros((1, 2, 2, 3), np.float32), [""]
    good, bad = (np.array([[1, x]], np.float32) for x in (2, np.nan))
    for ported, original in ((bad, good), (good, bad), (bad, bad)):
        (found,) = comparison.differences(
            Side(pixels, errors, ported), Side(pixels, errors, original)
        )
        assert (found.starts, found.layer) == ("model", "norm")
        assert found.logits == found.relative == np.inf


def test_an_answer_is_of_the_classes_that_count():
    logits = np.array([[3, 1, 2, 0], [0, 1, 2, 3]], np.float32)
    (best, none) = Scores().answers(logits, ["", "broken"])
    assert best == Answer((0, 2, 1, 3), (3, 2, 1, 0))
    assert none == Answer(error="broken")
    (best, _) = Scores(classes=[1, 3]).answers(logits, ["", ""])
    assert best == Answer((1, 3), (1, 0))
    (best, _) = Scores(np.array([3, -1, 0]), [0, 1, 2]).answers(logits, ["", ""])
    assert best == Answer((2, 0), (3, 0))


def test_equal_logits_are_in_the_order_of_the_classes():
    (answer,) = Scores().answers(np.zeros((1, 9), np.float32), [""])
    assert answer.classes == (0, 1, 2, 3, 4)


def predictions_in(path, names=("a", "b"), run=RUN, **options):
    return predictions_file(path, run, names, batch_size=1, **options)


def test_a_prediction_is_read_as_it_was_written(tmp_path):
    path = tmp_path / "predictions.jsonl"
    written = [compared("a", 7, 0.1, "pixels"), prediction("b", [2, 3], 0, "broken")]
    with predictions_in(path) as (done, append):
        assert done == []
        append(written)
    with predictions_in(path) as (done, _):
        assert done == written


def test_a_file_that_is_no_file_of_predictions_stays_as_it_is(tmp_path):
    path = tmp_path / "predictions.jsonl"
    for text in ("", "mine\n", "[]\n", "1\n"):
        path.write_text(text)
        with (
            pytest.raises(EvaluationError, match="is not a file of predictions"),
            predictions_in(path),
        ):
            pass
        assert path.read_text() == text


def test_a_damaged_line_is_named(tmp_path):
    path = tmp_path / "predictions.jsonl"
    first = json.dumps(RUN)
    line = prediction("a", [0], 0).to_json()
    for second, found in (
        ("\0\0\0", "JSONDecodeError"),
        ("{}", "KeyError"),
        (line, "'a' found, 'b' expected"),
    ):
        path.write_text(f"{first}\n{line}\n{second}\n")
        with (
            pytest.raises(EvaluationError, match=f"line 3: {found}.*begins anew"),
            predictions_in(path),
        ):
            pass
    path.write_text(f"{first}\n{line}\n{line}\n")
    with (
        pytest.raises(EvaluationError, match="line 3: IndexError"),
        predictions_in(path, names=("a",)),
    ):
        pass
    with predictions_in(path, overwrite=True) as (done, _):
        assert done == []


def test_two_runs_do_not_write_to_one_file(tmp_path):
    path = tmp_path / "predictions.jsonl"
    with predictions_in(path) as (_, append):
        append([prediction("a", [0], 0)])
    with path.open("rb") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        with (
            pytest.raises(EvaluationError, match="another process writes to it"),
            predictions_in(path),
        ):
            pass


def test_how_fast_the_same_run_was_is_kept(tmp_path):
    path = tmp_path / "results.json"
    assert results.rates(path, RUN) == {}
    path.write_text(json.dumps(summary()))
    assert results.rates(path, RUN) == {"ported": 12.5}
    assert results.rates(path, {**RUN, "data": "others"}) == {}
    path.write_text("{")
    assert results.rates(path, RUN) == {}


@pytest.fixture
def runs(tmp_path):
    both = summary([compared("a", 0, 1e-6)], original_data=DataConfig())
    alone = {**summary(), "name": "a|b"}
    for name, found in (("one", both), ("two", alone)):
        (tmp_path / name).mkdir()
        (tmp_path / name / "results.json").write_text(json.dumps(found))
    return tmp_path


def test_the_table_in_markdown(runs, capsys):
    table.run(["table", str(runs)])
    assert capsys.readouterr().out.splitlines() == [
        "| model | data | images | unreadable | top-1 original | top-1 ported | "
        "top-5 original | top-5 ported | disagreements | image size | parameters | "
        "images/s |",
        "| --- | --- | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: | "
        "---: |",
        "| micro | images | 1 | 0 | 100.000 | 100.000 | 100.000 | 100.000 | 0 | "
        "224x224 | 1,234,567 | 12.5 |",
        "| a\\|b | images | 7 | 1 | - | 42.857 | - | 42.857 | - | 224x224 | "
        "1,234,567 | 12.5 |",
    ]


def test_the_table_in_csv(runs, capsys):
    two, one = runs / "two" / "results.json", runs / "one"
    table.run(["table", str(two), str(one), "--format=csv"])
    assert capsys.readouterr().out.splitlines() == [
        "model,data,images,unreadable,top-1 original,top-1 ported,top-5 original,"
        "top-5 ported,disagreements,image size,parameters,images/s",
        f"a|b,images,7,1,,{3 / 7},,{3 / 7},,224x224,1234567,12.5",
        "micro,images,1,0,1.0,1.0,1.0,1.0,0,224x224,1234567,12.5",
    ]


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ([], "no folder found; expected: where results were written"),
        (["empty"], "empty: no results.json found there"),
        (["bad"], "is not what i1k_eval writes: KeyError"),
        (["--format=html"], "flag --format=html: value should be one of"),
    ],
)
def test_what_is_no_table_is_refused(arguments, said, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for folder in ("empty", "bad"):
        (tmp_path / folder).mkdir()
    (tmp_path / "bad" / "results.json").write_text("{}")
    with pytest.raises(SystemExit) as ended:
        table.run(["table", *arguments])
    assert said in ended.value.code
    assert ended.value.code.startswith("i1k_eval.table: error: ")
