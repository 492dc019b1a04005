"""Microsoft's files, compared with the originals, and with timm's filters."""

import re

import numpy as np
import originals_microsoft as originals
import pytest
import timm
from dialect_check import assert_equal, assert_same, randomised, tensors_of, translated
from timm.models import swin_transformer, swin_transformer_v2

from vit_tf.checkpoints import CheckpointError
from vit_tf.checkpoints.dialects import swin_buffers

V1, V2 = "swin_tiny_patch4_window7_224", "swinv2_tiny_window8_256"
SHAPES = dict(embed_dim=12, depths=(2, 2), num_heads=(2, 4))
V2_0 = (0, 0)
INDEX = "layers.0.blocks.1.attn.relative_position_index"
COORDS = "layers.1.blocks.0.attn.relative_coords_table"
MASK = "layers.0.blocks.1.attn_mask"


def micro(**options):
    return randomised(originals.Swin(**options))


@pytest.mark.parametrize("classes", [5, 0])
@pytest.mark.parametrize(
    ("name", "pretrained", "window", "patch", "told"),
    [
        (V1, (None, None), 4, 2, {"window_size": 4, "img_size": 32}),
        (V1, (None, None), 4, 4, {"window_size": 4, "img_size": 32}),
        (V1, (None, None), 8, 4, {"window_size": ((8, 8), (4, 4))}),  # no shift
        (V2, V2_0, 4, 2, {"pretrained_window_sizes": (0, 0), "img_size": 32}),
        (V2, V2_0, 8, 2, {"window_size": 8, "img_size": 32}),
        (V2, (6, 3), 8, 2, {"pretrained_window_sizes": (6, 3)}),
        (V2, (3, 2), 4, 4, {"pretrained_window_sizes": (3, 2)}),
    ],
)
def test_swin(name, pretrained, window, patch, told, classes):
    model = micro(pretrained=pretrained, window=window, patch=patch, classes=classes)
    translation = translated(tensors_of(model))
    assert told.items() <= translation.arguments.items()
    assert set(translation.left_out) == {name for name, _ in model.named_buffers()}
    assert_same(
        model, translation, name, patch_size=patch, num_classes=classes, **SHAPES
    )


@pytest.mark.parametrize(
    ("name", "pretrained", "module"),
    [
        (V1, (None, None), swin_transformer),
        (V2, V2_0, swin_transformer_v2),
    ],
)
@pytest.mark.parametrize("half", [False, True])
@pytest.mark.parametrize("classes", [5, 0])
def test_it_is_what_timm_makes_of_it(name, pretrained, module, half, classes):
    model = micro(pretrained=pretrained, classes=classes)
    model = model.half() if half else model
    theirs = timm.create_model(
        name, img_size=32, patch_size=2, window_size=4, num_classes=classes, **SHAPES
    )
    filtered = module.checkpoint_filter_fn(model.state_dict(), theirs)
    assert_equal(translated(tensors_of(model)).tensors, filtered)


def test_timms_own_names_with_buffers_stay():
    model = micro()
    tensors = tensors_of(model)
    ours = translated(tensors).tensors
    mixed = {**ours, INDEX: tensors[INDEX]}
    translation = translated(mixed)
    assert set(translation.left_out) == {INDEX}
    assert set(translation.tensors) == set(ours)


@pytest.mark.parametrize(
    ("pretrained", "name", "spoil"),
    [
        ((None, None), INDEX, lambda index: index.T),
        ((None, None), INDEX, lambda index: index[:9, :9]),
        ((None, None), MASK, lambda mask: mask / 2),
        ((None, None), MASK, lambda mask: mask[::-1]),
        ((None, None), "layers.0.blocks.0.attn_mask", None),  # where nothing shifts
        ((3, 2), COORDS, lambda table: table * 1.01),
        ((3, 2), COORDS, lambda table: table[..., ::-1]),
    ],
)
def test_a_buffer_of_another_model_is_an_error(pretrained, name, spoil):
    tensors = tensors_of(micro(pretrained=pretrained))
    tensors[name] = np.array(spoil(tensors[name]) if spoil else tensors[MASK])
    with pytest.raises(CheckpointError, match=f"{re.escape(name)}: .* found, another"):
        translated(tensors)


def test_all_such_buffers_are_named():
    tensors = tensors_of(micro())
    del tensors["layers.1.blocks.1.attn_mask"]
    tensors[INDEX] = tensors[INDEX] + 1
    with pytest.raises(CheckpointError) as raised:
        translated(tensors)
    assert str(raised.value) == (
        "these buffers are not what timm's model computes:\n"
        f"   {INDEX}: (16, 16) found, another expected for windows of 4 x 4 tokens\n"
        "   layers.1.blocks.1.attn.relative_position_index: no attn_mask beside it "
        "found, one expected for windows of 4 x 4 tokens"
    )


@pytest.mark.parametrize(("height", "width"), [(8, 8), (8, 12), (12, 4)])
def test_a_mask_tells_the_image_size(height, width):
    mask = swin_buffers.attention_mask((height, width), (4, 4))
    assert swin_buffers.resolution_of_mask(mask, (4, 4)) == (height, width)


@pytest.mark.parametrize("size", [(7, 7), (4, 6)])
def test_buffers_are_what_timm_computes(size):
    expected = swin_transformer.get_relative_position_index(*size)
    index = swin_buffers.relative_position_index(size)
    np.testing.assert_array_equal(index, expected)
    block = swin_transformer.SwinTransformerBlock(
        8, (2 * size[0], 3 * size[1]), window_size=size, num_heads=1,
        shift_size=(size[0] // 2, size[1] // 2),
    )  # fmt: skip
    mask = swin_buffers.attention_mask((2 * size[0], 3 * size[1]), size)
    np.testing.assert_array_equal(mask, block.attn_mask)
    attention = swin_transformer_v2.WindowAttention(
        8, window_size=size, num_heads=1, pretrained_window_size=(5, 3)
    )
    table = swin_buffers.relative_coords_table(size, (5, 3))
    assert swin_buffers.equal(attention.relative_coords_table.numpy(), table)
    assert swin_buffers.pretrained_window_of_coords(table) == (5, 3)


def test_buffers_of_other_shapes_are_an_error():
    tensors = tensors_of(micro())
    tensors[INDEX] = tensors[INDEX].ravel()
    with pytest.raises(CheckpointError, match=r"shape \(256,\) found, 2 axes expected"):
        translated(tensors)
