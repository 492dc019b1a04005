"""The losses of timm's training, in float64: ours, and those that Keras has."""

import importlib

import keras
import numpy as np
import pytest
import tensorflow as tf

from vit_tf.reference import torch
from vit_tf.training import BinaryCrossEntropy

of_timm = importlib.import_module("timm.loss")
RNG = np.random.default_rng(0)
LOGITS = 3 * RNG.standard_normal((6, 5))
LABELS = RNG.integers(0, 5, 6)
TARGETS = RNG.dirichlet(np.ones(5), 6)


def assert_same(loss, reference, labels):
    """The value and its gradient."""
    logits = tf.constant(LOGITS)
    with tf.GradientTape() as tape:
        tape.watch(logits)
        candidate = loss(tf.constant(labels), logits)
    of_torch = torch.from_numpy(LOGITS).requires_grad_()
    expected = reference(of_torch, torch.from_numpy(labels))
    expected.backward()
    np.testing.assert_allclose(candidate, expected.item(), rtol=1e-10)
    gradient = tape.gradient(candidate, logits)
    np.testing.assert_allclose(gradient, of_torch.grad.numpy(), atol=1e-12)


@pytest.mark.parametrize("labels", [LABELS, TARGETS], ids=["labels", "targets"])
@pytest.mark.parametrize(
    "options",
    [
        dict(),
        dict(smoothing=0.0, sum_classes=True),
        dict(smoothing=0.2, target_threshold=0.2),
    ],
)
def test_binary_cross_entropy_is_timms(options, labels):
    loss = BinaryCrossEntropy(**options, dtype="float64")
    assert_same(loss, of_timm.BinaryCrossEntropy(**options), labels)
    twin = type(loss).from_config(loss.get_config())
    assert twin.get_config() == loss.get_config()


def test_the_other_losses_of_timm_are_keras_own():
    soft = keras.losses.CategoricalCrossentropy(from_logits=True, dtype="float64")
    assert_same(soft, of_timm.SoftTargetCrossEntropy(), TARGETS)
    smooth = keras.losses.CategoricalCrossentropy(
        from_logits=True, label_smoothing=0.1, dtype="float64"
    )
    assert_same(
        lambda labels, logits: smooth(tf.one_hot(labels, 5), logits),
        of_timm.LabelSmoothingCrossEntropy(0.1),
        LABELS,
    )


def test_a_smoothing_that_is_none_is_refused():
    with pytest.raises(ValueError, match=r"smoothing=1\.0 found, 0 to below 1"):
        BinaryCrossEntropy(1.0)
