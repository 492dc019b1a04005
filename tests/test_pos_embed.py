"""Position embeddings on other grids, against torch's interpolation and timm's."""

import numpy as np
import pytest
import tensorflow as tf

from vit_tf.layers.pos_embed import resample, resample_abs_pos_embed
from vit_tf.reference import timm, torch

SIZES = [
    ((7, 7), (7, 7)),
    ((14, 14), (24, 24)),
    ((14, 14), (7, 5)),
    ((5, 9), (12, 4)),
    ((24, 10), (3, 31)),
    ((1, 6), (4, 1)),
    ((2, 3), (1, 1)),
]


def grid(size: tuple[int, int], batch: int = 1) -> np.ndarray:
    return np.random.default_rng(0).standard_normal((batch, *size, 6))


def torchs(x: torch.Tensor, size: tuple[int, int], antialias: bool) -> torch.Tensor:
    y = torch.nn.functional.interpolate(
        x.permute(0, 3, 1, 2), size=size, mode="bicubic", antialias=antialias
    )
    return y.permute(0, 2, 3, 1)


def at_run_time(x: np.ndarray, new_size: tuple[int, int], antialias: bool) -> tf.Tensor:
    """`resample` traced with sizes that only the run knows, of both grids."""
    signature = [
        tf.TensorSpec((None, None, None, x.shape[-1]), x.dtype),
        tf.TensorSpec((2,), tf.int32),
    ]

    @tf.function(input_signature=signature, autograph=False)
    def traced(x, size):
        return resample(x, (size[0], size[1]), antialias=antialias)

    return traced(x, new_size)


@pytest.mark.parametrize("antialias", [True, False])
@pytest.mark.parametrize(("old", "new"), SIZES)
def test_interpolation_is_torchs(old, new, antialias):
    x = grid(old, batch=2)
    expected = torchs(torch.from_numpy(x), new, antialias).numpy()
    known = resample(tf.constant(x), new, antialias=antialias)
    np.testing.assert_allclose(known, expected, rtol=0, atol=1e-12)
    unknown = at_run_time(x, new, antialias)
    np.testing.assert_allclose(unknown, expected, rtol=0, atol=1e-12)


@pytest.mark.parametrize("antialias", [True, False])
@pytest.mark.parametrize(("old", "new"), SIZES)
def test_its_gradient_is_torchs(old, new, antialias):
    x, weight = grid(old), grid(new)
    leaf = torch.from_numpy(x).requires_grad_()
    torch.sum(torchs(leaf, new, antialias) * torch.from_numpy(weight)).backward()
    sizes = {"known": new, "not yet known": tuple(map(tf.constant, new))}
    for case, size in sizes.items():
        ours = tf.constant(x)
        with tf.GradientTape() as tape:
            tape.watch(ours)
            total = tf.reduce_sum(resample(ours, size, antialias=antialias) * weight)
        found = tape.gradient(total, ours)
        np.testing.assert_allclose(found, leaf.grad, rtol=0, atol=1e-12, err_msg=case)


@pytest.mark.parametrize("prefix", [0, 1, 2])
def test_position_embeddings_are_timms(prefix):
    x = np.random.default_rng(1).standard_normal((1, prefix + 4 * 6, 5), np.float32)
    expected = timm.layers.resample_abs_pos_embed(
        torch.from_numpy(x), (3, 8), (4, 6), prefix
    )
    found = resample_abs_pos_embed(tf.constant(x), (3, 8), (4, 6), prefix)
    np.testing.assert_array_equal(found[:, :prefix], x[:, :prefix])
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-6)


def test_without_an_old_size_the_grid_is_square():
    x = np.random.default_rng(2).standard_normal((1, 1 + 9, 5), np.float32)
    expected = timm.layers.resample_abs_pos_embed(torch.from_numpy(x), (2, 4))
    found = resample_abs_pos_embed(tf.constant(x), (2, 4))
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-6)


@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
def test_half_precision_is_interpolated_in_float32(dtype):
    x = tf.cast(grid((5, 5)), dtype)
    expected = tf.cast(resample(tf.cast(x, "float32"), (8, 3)), dtype)
    found = resample(x, (8, 3))
    assert found.dtype == dtype
    np.testing.assert_array_equal(found, expected)


def test_the_same_grid_is_left_as_it_is():
    x = tf.constant(grid((3, 4)))
    assert resample(x, (3, 4)) is x
    np.testing.assert_array_equal(at_run_time(x.numpy(), (3, 4), True), x)


def test_a_grid_that_does_not_fit_is_an_error_with_both():
    with pytest.raises(ValueError, match="10 patches is not for a grid of 3 x 3"):
        resample_abs_pos_embed(tf.zeros((1, 11, 2)), (4, 4))
