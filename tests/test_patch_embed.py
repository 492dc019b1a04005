"""PatchEmbed with each of its options against timm's."""

import functools

import numpy as np
import pytest
import tensorflow as tf

from vit_tf.layers.norm import LayerNorm
from vit_tf.layers.patch_embed import PatchEmbed
from vit_tf.reference import timm, torch

EPS = 1e-5


def pair(*, norm: bool = False, in_chans: int = 3, **options):
    """Ours and timm's, in float64, with the same random weights."""
    torch_norm = functools.partial(torch.nn.LayerNorm, eps=EPS) if norm else None
    theirs = timm.layers.PatchEmbed(
        patch_size=4, in_chans=in_chans, embed_dim=6, norm_layer=torch_norm, **options
    ).double()
    rng = np.random.default_rng(0)
    state = {k: rng.standard_normal(v.shape) for k, v in theirs.state_dict().items()}
    theirs.load_state_dict({k: torch.from_numpy(v) for k, v in state.items()})
    ours = PatchEmbed(
        patch_size=4,
        embed_dim=6,
        norm_layer=functools.partial(LayerNorm, eps=EPS) if norm else None,
        dtype="float64",
        **options,
    )
    ours.build((None, None, None, in_chans))
    ours.proj.kernel.assign(state["proj.weight"].transpose(2, 3, 1, 0))
    if "proj.bias" in state:
        ours.proj.bias.assign(state["proj.bias"])
    if norm:
        ours.norm.gamma.assign(state["norm.weight"])
        ours.norm.beta.assign(state["norm.bias"])
    assert len(ours.weights) == len(state)
    return ours, theirs


def compare(ours, theirs, size: tuple[int, int], in_chans: int = 3) -> None:
    """Called eagerly, and in a graph that knows neither batch nor size."""
    images = np.random.default_rng(1).standard_normal((2, *size, in_chans))
    with torch.inference_mode():
        expected = theirs(torch.from_numpy(images.transpose(0, 3, 1, 2).copy()))
    found = ours(images)
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-12)
    shape = ours.compute_output_shape((None, *size, in_chans))
    assert shape == (None, *expected.shape[1:])
    if not ours.strict_img_size:
        spec = tf.TensorSpec((None, None, None, in_chans), images.dtype)
        traced = tf.function(ours, input_signature=[spec], autograph=False)
        np.testing.assert_allclose(traced(images), expected, rtol=0, atol=1e-12)


@pytest.mark.parametrize(
    "options",
    [
        dict(),
        dict(bias=False),
        dict(norm=True),
        dict(output_fmt="NHWC", norm=True, bias=False),
        dict(output_fmt="NLC"),
        dict(output_fmt="NLC", flatten=False),
        dict(in_chans=1),
    ],
)
def test_options_are_timms(options):
    ours, theirs = pair(img_size=(8, 12), **options)
    compare(ours, theirs, (8, 12), options.get("in_chans", 3))


@pytest.mark.parametrize("options", [dict(), dict(output_fmt="NHWC")])
def test_any_multiple_of_the_patch_will_do_if_not_strict(options):
    ours, theirs = pair(img_size=8, strict_img_size=False, **options)
    compare(ours, theirs, (4, 20))


@pytest.mark.parametrize("size", [(8, 12), (5, 11), (2, 3)])
@pytest.mark.parametrize("options", [dict(), dict(output_fmt="NHWC")])
def test_other_sizes_are_padded_if_asked_for(size, options):
    ours, theirs = pair(
        img_size=8, strict_img_size=False, dynamic_img_pad=True, **options
    )
    compare(ours, theirs, size)
    assert ours.dynamic_feat_size(size) == theirs.dynamic_feat_size(size)


def test_a_model_for_no_size_takes_any():
    ours, theirs = pair(img_size=None, strict_img_size=False)
    compare(ours, theirs, (9, 15))


def test_unflattened_tokens_keep_their_places():
    layer = PatchEmbed((8, 12), 4, 6, flatten=False)
    assert layer(np.zeros((2, 8, 12, 3))).shape == (2, 2, 3, 6)


def test_the_reduction_is_timms():
    ours = PatchEmbed(32, (4, 8))
    assert ours.feat_ratio() == timm.layers.PatchEmbed(32, (4, 8)).feat_ratio() == 8
    assert (ours.grid_size, ours.num_patches) == ((8, 4), 32)


def test_what_is_no_multiple_of_the_patch_is_an_error():
    layer = PatchEmbed(8, 4, 6, strict_img_size=False)
    with pytest.raises(
        ValueError, match=r"height, 9 pixels, is no multiple .* 4 pixel"
    ):
        layer(np.zeros((1, 9, 8, 3)))
    with pytest.raises(ValueError, match="width, 6 pixels, is no multiple"):
        layer(np.zeros((1, 8, 6, 3)))


def test_it_is_an_error_also_when_only_the_run_knows():
    layer = PatchEmbed(8, 4, 6, strict_img_size=False)
    spec = tf.TensorSpec((None, None, None, 3))
    traced = tf.function(layer, input_signature=[spec], autograph=False)
    with pytest.raises(tf.errors.InvalidArgumentError, match="width is no multiple"):
        traced(np.zeros((1, 8, 6, 3), np.float32))


def test_a_strict_model_wants_its_own_size_when_it_is_known():
    layer = PatchEmbed((8, 12), 4, 6)
    with pytest.raises(ValueError, match="12 x 8 pixels given to a model of 8 x 12"):
        layer(np.zeros((1, 12, 8, 3)))
    spec = tf.TensorSpec((None, None, None, 3))
    served = tf.function(layer, input_signature=[spec], autograph=False)
    assert served(np.zeros((1, 8, 12, 3), np.float32)).shape == (1, 6, 6)
    with pytest.raises(tf.errors.InvalidArgumentError, match="8,12"):
        served(np.zeros((1, 12, 8, 3), np.float32))


def test_channels_first_is_an_error():
    with pytest.raises(ValueError, match="output_fmt='NCHW': expected one of"):
        PatchEmbed(output_fmt="NCHW")
