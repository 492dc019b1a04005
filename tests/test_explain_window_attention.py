import numpy as np
import pytest
from explain_reference import images_of, pair, timm_attention

from vit_tf import models
from vit_tf.explain import window_attention_maps
from vit_tf.reference import timm, torch

V1, V2 = "swin_tiny_patch4_window7_224", "swinv2_base_window12to16_192to256"
MICRO = dict(depths=(2, 1), num_heads=(2, 4), embed_dim=8, window_size=(3, 4))
pytestmark = pytest.mark.filterwarnings("ignore:torch.searchsorted:UserWarning")
swin = timm.models.swin_transformer


@pytest.fixture(scope="module", params=[V1, V2])
def folded(request):
    """Images of 10 x 13 and 5 x 7 tokens: no multiples of the window."""
    config = models.small_config(
        request.param, **{**MICRO, "img_size": (40, 52), "strict_img_size": False}
    )
    model, reference = pair(config)
    images = images_of(40, 52)
    return model, images, timm_attention(reference, images), reference.module


def put_back(values, block, grid):
    """Values (B*windows, heads, N) on the map, by timm's own functions in its order."""
    height, width = block.window_size
    padded = [-(-size // w) * w for size, w in zip(grid, (height, width), strict=True)]
    windows = torch.from_numpy(values.transpose(0, 2, 1).copy())
    windows = windows.reshape(-1, height, width, values.shape[1])
    x = swin.window_reverse(windows, (height, width), *padded)
    x = x[:, : grid[0], : grid[1]].contiguous()
    return torch.roll(x, block.shift_size, dims=(1, 2)).permute(0, 3, 1, 2).numpy()


def asking(block, grid, token=None):
    """For each place in each window, one if it asks: `token`, or any but padding."""
    marked = torch.ones(1, *grid, 1, dtype=torch.float64)
    if token is not None:
        marked *= 0
        marked[0, token[0], token[1], 0] = 1
    marked = torch.roll(marked, [-shift for shift in block.shift_size], dims=(1, 2))
    (height, width), (rows, columns) = block.window_size, grid
    pads = (0, 0, 0, -columns % width, 0, -rows % height)
    marked = torch.nn.functional.pad(marked, pads)
    return swin.window_partition(marked, (height, width)).flatten(1).numpy()


@pytest.mark.parametrize(
    ("stage", "block", "grid", "shift"),
    [(0, 0, (10, 13), (0, 0)), (0, 1, (10, 13), (1, 2)), (1, 0, (5, 7), (0, 0))],
)
@pytest.mark.parametrize("token", [None, (0, 0), (4, 5)])
def test_windows_are_folded_back_as_timm_does_it(
    folded, stage, block, grid, shift, token
):
    model, images, attention, module = folded
    theirs = module.layers[stage].blocks[block]
    assert tuple(theirs.shift_size) == shift
    heads = attention[f"layers.{stage}.blocks.{block}.attn.attn_drop"]
    asks = np.tile(asking(theirs, grid, token), (2, 1))  # (2 images' windows, N)
    received = np.zeros(heads.shape[:3])
    for window, query in zip(*np.nonzero(asks), strict=True):
        received[window] += heads[window, :, query]
    found = window_attention_maps(model, images, stage, block, query=token)
    expected = put_back(received, theirs, grid)
    np.testing.assert_allclose(found, expected, rtol=1e-9, atol=1e-15)


def test_what_is_received_is_what_is_not_given_to_padding(folded):
    model, images, _, _ = folded
    found = window_attention_maps(model, images, 0, 1)  # shifted, and padded
    assert found.shape == (2, 2, 10, 13)
    total = found.sum((2, 3))
    assert (total < 130).all()
    assert (total > 100).all()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (dict(stage=2), r"stage=2, block=-1: expected one of 2 stages, of \(2, 1\)"),
        (dict(stage=1, block=1), "stage=1, block=1: expected one of 2 stages"),
        (dict(query=(5, 0)), r"query=\(5, 0\): expected .* grid of 5 x 7 tokens"),
    ],
)
def test_what_is_not_there_is_an_error(folded, arguments, message):
    model, images, _, _ = folded
    with pytest.raises(ValueError, match=message):
        window_attention_maps(model, images, **arguments)


def test_a_model_without_windows_is_an_error(model):
    with pytest.raises(
        ValueError, match=r"VisionTransformer found.*not within windows"
    ):
        window_attention_maps(model, images_of(32, 32))
