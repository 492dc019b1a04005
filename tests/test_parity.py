import numpy as np
import pytest

from vit_tf.parity import LayerDiff, ParityError, Report, compare_layers

REFERENCE = {
    "patch_embed": np.array([1.0, -4.0]),
    "blocks.0.attn": np.array([2.0]),
    "blocks.1.attn": np.array([8.0]),
    "logits": np.array([[1.0]]),
}


def changed(**outputs):
    return {**REFERENCE, **outputs}


def test_equal_outputs_pass_with_zero_error():
    report = compare_layers(REFERENCE, dict(REFERENCE), tolerance=0.0)
    assert report.passed
    assert [diff.error for diff in report.layers] == [0, 0, 0, 0]


def test_errors_are_relative_to_the_largest_value_of_the_layer():
    candidate = changed(patch_embed=np.array([1.0, -4.04]))
    report = compare_layers(REFERENCE, candidate, tolerance=0.02)
    assert report.worst.name == "patch_embed"
    assert report.worst.scale == 4.0
    assert report.worst.relative == pytest.approx(0.01)
    assert report.passed


def test_the_first_divergence_is_the_first_in_order_not_the_worst():
    candidate = changed(
        **{"blocks.0.attn": np.array([2.1]), "logits": np.zeros((1, 1))}
    )
    report = compare_layers(REFERENCE, candidate, tolerance=1e-3)
    assert report.first_divergence.name == "blocks.0.attn"
    assert report.worst.name == "logits"
    with pytest.raises(ParityError, match=r"2 of 4 differ.*blocks\.0\.attn.*logits"):
        report.check()


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_what_is_not_finite_fails(value):
    candidate = changed(logits=np.array([[value]]))
    report = compare_layers(REFERENCE, candidate, tolerance=1e30)
    assert not report.passed
    assert report.first_divergence.name == "logits"


def test_nan_on_both_sides_fails():
    nan = {"logits": np.array([np.nan])}
    assert not compare_layers(nan, nan, tolerance=1.0).passed


@pytest.mark.parametrize("place", [0, 70_000, -1])
def test_a_large_layer_is_compared_in_all_its_parts(place):
    expected = np.linspace(-3, 2, 2 * 75_000).reshape(2, -1)
    candidate = expected.copy()
    candidate.flat[place] += 0.5
    [diff] = compare_layers({"logits": expected}, {"logits": candidate}, 0.5).layers
    assert (diff.error, diff.scale) == (0.5, 3.0)
    candidate.flat[place] = np.nan
    [diff] = compare_layers({"logits": expected}, {"logits": candidate}, 0.5).layers
    assert np.isnan(diff.error)


def test_comparing_nothing_fails():
    report = compare_layers({}, {}, tolerance=1.0)
    assert not report.passed
    with pytest.raises(ParityError, match="nothing was compared"):
        report.check()


def test_a_layer_on_one_side_only_fails():
    candidate = changed(extra=np.array([1.0]))
    del candidate["patch_embed"]
    report = compare_layers(REFERENCE, candidate, tolerance=1.0)
    problems = {diff.name: diff.problem for diff in report.failures}
    assert problems == {
        "patch_embed": "not in the candidate",
        "extra": "not in the reference",
    }


def test_shapes_are_not_broadcast():
    candidate = changed(logits=np.array([1.0]))
    report = compare_layers(REFERENCE, candidate, tolerance=1.0)
    assert report.first_divergence.problem == "shape (1,), (1, 1) expected"


def test_an_error_where_the_reference_is_zero_fails():
    diff = LayerDiff("bias", error=1e-30, scale=0.0)
    assert not Report((diff,), tolerance=1.0).passed


def test_integers_do_not_wrap_around():
    reference = {"labels": np.array([0], np.uint8)}
    candidate = {"labels": np.array([255], np.uint8)}
    assert compare_layers(reference, candidate, 1.0).worst.error == 255


def test_the_table_folds_blocks_and_shows_failures_apart():
    reference = {f"blocks.{i}.attn": np.ones(1) for i in range(12)}
    candidate = reference | {"blocks.5.attn": np.full(1, 2.0)}
    text = str(compare_layers(reference, candidate, tolerance=1e-5, title="layers"))
    assert "blocks.{0,1,2,3,4,6,7,8,9,10,11}.attn" in text
    assert "layers: FAILED, 12 compared, tolerance 1e-05" in text
    assert "first divergence: blocks.5.attn (1.0e+00 relative)" in text
    assert "blocks.{0..11}.attn" in str(compare_layers(reference, reference, 1e-5))


def test_the_json_holds_every_layer():
    content = compare_layers(REFERENCE, REFERENCE, 1e-5, "layers").to_json()
    assert content["passed"] is True
    assert [layer["name"] for layer in content["layers"]] == list(REFERENCE)
