"""Mixup, CutMix and random erasing against timm's, given the same draws."""

import numpy as np
import pytest
import tensorflow as tf
from scipy.stats import ks_2samp

from vit_tf.reference import timm, torch
from vit_tf.training import Mixup, RandomErasing
from vit_tf.training.mixup import Mixing, mixed_images, mixed_targets
from vit_tf.training.random_erasing import erased

mixup_of_timm = timm.data.mixup
MANY = 2000
BOXES = np.array([(1, 5, 0, 9), (0, 8, 2, 3), (3, 3, 1, 6), (2, 7, 4, 12)], np.int32)
LAMS = np.array([0.25, 0.75, 0.5, 1.0], np.float32)


def batch():
    rng = np.random.default_rng(0)
    images = rng.standard_normal((4, 8, 12, 3)).astype(np.float32)
    return images, np.array([3, 0, 4, 1])


def of_timm(monkeypatch, cuts, mode, correct_lam):
    """A batch as timm mixes it, with `LAMS`, `BOXES` and `cuts` for its draws."""
    boxes = iter(box for box, lam, cut in zip(BOXES, LAMS, cuts, strict=True)
                 if cut and lam != 1)  # fmt: skip
    monkeypatch.setattr(mixup_of_timm, "rand_bbox", lambda *_, **__: next(boxes))
    mixup = mixup_of_timm.Mixup(
        mode=mode, correct_lam=correct_lam, label_smoothing=0.1, num_classes=5
    )
    mixup._params_per_batch = lambda: (float(LAMS[0]), cuts[0])
    mixup._params_per_elem = lambda count: (LAMS[:count].copy(), cuts[:count])
    images, labels = batch()
    channels_first = torch.from_numpy(images.transpose(0, 3, 1, 2).copy())
    mixed, targets = mixup(channels_first, torch.from_numpy(labels))
    return mixed.permute(0, 2, 3, 1).numpy(), targets.numpy()


def same_draws(cuts, mode, correct_lam):
    """The same, as ours takes it."""
    which = {"batch": [0, 0, 0, 0], "pair": [0, 1, 1, 0], "elem": [0, 1, 2, 3]}[mode]
    cut, box = np.array(cuts) & (LAMS != 1), BOXES * np.array(cuts)[:, None]
    area = (box[:, 1] - box[:, 0]) * (box[:, 3] - box[:, 2])
    lam = np.where(cut & correct_lam, 1 - area / (8 * 12), LAMS)
    return Mixing(*(tf.constant(values[which]) for values in (lam, cut, box)))


@pytest.mark.parametrize("correct_lam", [True, False])
@pytest.mark.parametrize("mode", ["batch", "pair", "elem"])
@pytest.mark.parametrize("first_is_cut", [True, False])
def test_a_batch_is_mixed_as_by_timm(monkeypatch, first_is_cut, mode, correct_lam):
    cuts = [first_is_cut, not first_is_cut, True, False]
    expected, expected_targets = of_timm(monkeypatch, cuts, mode, correct_lam)
    images, labels = batch()
    mixing = same_draws(cuts, mode, correct_lam)
    assert np.array_equal(mixed_images(tf.constant(images), mixing), expected)
    targets = mixed_targets(tf.constant(labels), mixing.lam, 5, 0.1)
    np.testing.assert_allclose(targets, expected_targets, atol=1e-7)


@pytest.mark.parametrize(
    "options",
    [
        dict(mixup_alpha=0.8, cutmix_alpha=1.0, prob=0.7, switch_prob=0.4),
        dict(mixup_alpha=0.1),
        dict(mixup_alpha=0.0, cutmix_alpha=0.5, correct_lam=False),
        dict(mixup_alpha=0.0, cutmix_minmax=(0.2, 0.8)),
    ],
)
def test_shares_and_boxes_are_drawn_as_by_timm(options):
    drawn = Mixup(mode="elem", **options).draw(MANY, (32, 48), (0, 1))
    np.random.seed(0)
    reference = mixup_of_timm.Mixup(mode="elem", **options)
    lams, cuts = reference._params_per_elem(MANY)
    cuts &= lams != 1
    boxes = np.zeros((MANY, 4), int)
    for i in np.flatnonzero(cuts):
        boxes[i], lams[i] = mixup_of_timm.cutmix_bbox_and_lam(
            (32, 48), lams[i], reference.cutmix_minmax, reference.correct_lam
        )
    rounded = drawn.lam.numpy().astype(np.float32)  # as timm does it
    assert ks_2samp(rounded, lams, method="asymp").pvalue > 0.01
    assert abs(np.mean(drawn.cut) - np.mean(cuts)) < 0.04
    for edge in range(4):
        assert (
            ks_2samp(drawn.box[:, edge], boxes[:, edge], method="asymp").pvalue > 0.01
        )
    edges = np.array(drawn.box)[np.array(drawn.cut)]
    assert (edges[:, 0] <= edges[:, 1]).all()
    assert (edges[:, 2] <= edges[:, 3]).all()


@pytest.mark.parametrize("mode", ["batch", "pair", "elem"])
def test_a_batch_of_an_odd_size_is_mixed_and_a_seed_repeats_it(mode):
    mixup = Mixup(cutmix_alpha=1.0, mode=mode, num_classes=5)
    images, labels = np.ones((5, 8, 8, 3), np.float32), np.arange(5)
    images *= np.arange(5, dtype=np.float32)[:, None, None, None]
    mix = tf.function(
        lambda seed: mixup(tf.constant(images), tf.constant(labels), seed)
    )
    first, again, other = (mix(tf.constant(seed)) for seed in ((0, 7), (0, 7), (0, 8)))
    assert np.array_equal(first[0], again[0])
    assert np.array_equal(first[1], again[1])
    assert not np.array_equal(first[0], other[0])
    np.testing.assert_allclose(np.sum(first[1], axis=1), 1, rtol=1e-6)
    np.testing.assert_allclose(first[0][2], images[2], rtol=1e-6)
    # of the share of each number in an image, that in its targets
    np.testing.assert_allclose(
        np.mean(first[0], axis=(1, 2, 3)),
        (np.array(first[1]) - 0.02) / 0.9 @ np.arange(5),
        atol=1e-5,
    )


def test_small_alphas_give_shares_that_are_numbers():
    lam = Mixup(mixup_alpha=0.001, mode="elem").draw(MANY, (8, 8), (0, 0)).lam.numpy()
    assert np.isfinite(lam).all()
    assert abs(np.mean(lam > 0.5) - 0.5) < 0.05


def test_erased_boxes_are_drawn_as_by_timm():
    options = dict(min_area=0.05, max_area=0.4, min_aspect=0.4)
    erasing = RandomErasing(0.8, **options)
    seeds = np.stack([np.zeros(MANY, int), np.arange(MANY)], axis=1)
    draw = tf.function(
        lambda: tf.map_fn(
            lambda seed: erasing.draw(tf.constant((24, 32)), seed)[0],
            seeds,
            fn_output_signature=tf.int32,
        )
    )
    candidate = draw().numpy()
    import random

    random.seed(0)
    reference = timm.data.random_erasing.RandomErasing(0.8, device="cpu", **options)
    expected = []
    for _ in range(MANY):
        rows, columns = np.nonzero(reference(torch.ones(1, 24, 32)).numpy()[0] == 0)
        found = [(0, 0, 0, 0)] if not len(rows) else [
            (rows.min(), columns.min(), np.ptp(rows) + 1, np.ptp(columns) + 1)
        ]  # fmt: skip
        expected += found
    for values in zip(candidate.T, np.array(expected).T, strict=True):
        assert ks_2samp(*values, method="asymp").pvalue > 0.01


@pytest.mark.parametrize("mode", ["const", "rand", "pixel"])
def test_boxes_are_erased_and_what_is_there_instead_is_as_told(mode):
    erasing = RandomErasing(1.0, mode=mode, min_area=0.2, max_count=3)
    image, seed = tf.fill((20, 30, 3), 7.0), tf.constant((1, 2))
    candidate = erasing(image, seed).numpy()
    assert np.array_equal(candidate, erasing(image, seed))
    boxes = erasing.draw(tf.constant((20, 30)), tf.random.split(seed, 2)[0]).numpy()
    inside = np.zeros((20, 30), bool)
    for top, left, height, width in boxes:
        inside[top : top + height, left : left + width] = True
    assert inside.any()
    assert (candidate[~inside] == 7).all()
    values = len(np.unique(candidate[inside]))
    boxes_there = np.count_nonzero(boxes[:, 2])
    assert {"const": values == 1, "rand": 3 <= values <= 3 * boxes_there,
            "pixel": values == 3 * inside.sum()}[mode]  # fmt: skip


def test_no_more_boxes_are_erased_than_are_drawn():
    erasing = RandomErasing(1.0, min_count=1, max_count=3)
    draws = [erasing.draw(tf.constant((20, 30)), (0, seed)) for seed in range(60)]
    counts = np.array([np.count_nonzero(draw[:, 2]) for draw in draws])
    assert set(counts) == {1, 2, 3}
    assert not RandomErasing(0.0).draw(tf.constant((20, 30)), (0, 0)).numpy().any()


def test_a_box_is_filled():
    image = np.arange(24.0).reshape(2, 4, 3)
    expected = image.copy()
    expected[0:1, 1:3] = (1, 2, 3)
    box, fill = tf.constant((0, 1, 1, 2)), tf.constant((1.0, 2.0, 3.0), tf.float64)
    assert np.array_equal(erased(tf.constant(image), box, fill), expected)


def test_errors_list_what_was_found_and_what_was_expected():
    with pytest.raises(ValueError, match=r"mixup_alpha=0\.0 found, it or cutmix_alpha"):
        Mixup(mixup_alpha=0.0)
    with pytest.raises(ValueError, match=r"mode='row' found(.|\n)*num_classes=0 found"):
        Mixup(mode="row", num_classes=0)
    with pytest.raises(ValueError, match="images of uint8 and labels of shape"):
        Mixup()(tf.zeros((2, 8, 8, 3), tf.uint8), tf.zeros(2, tf.int32), (0, 0))
    with pytest.raises(ValueError, match=r"probability=2 found(.|\n)*mode='x' found"):
        RandomErasing(2, mode="x")
