import numpy as np
import pytest
from explain_reference import images_of, pair, timm_attention
from micro import micro_config

from vit_tf import models
from vit_tf.explain import attention_rollout
from vit_tf.reference import torch

PLAIN, DISTILLED = "deit_tiny_patch16_224", "deit_tiny_distilled_patch16_224"


@pytest.fixture(scope="module")
def distilled():
    config = micro_config(DISTILLED, img_size=(32, 48), depth=3)
    model, reference = pair(config)
    images = images_of(32, 48)
    attention = timm_attention(reference, images)
    return model, images, [attention[f"blocks.{i}.attn.attn_drop"] for i in range(3)]


def followed(blocks, fuse, discard_ratio, row, prefix, grid):
    """The same in torch, image by image: a row is carried down from the last block."""
    found = []
    for image in range(len(blocks[0])):
        reached = torch.zeros(blocks[0].shape[-1], dtype=torch.float64)
        reached[row] = 1.0
        for heads in reversed(blocks):
            attention = fuse(torch.from_numpy(heads[image])).clone()
            count = int(attention.numel() * discard_ratio)
            for place in attention.flatten().argsort()[:count]:
                if place:
                    attention.view(-1)[place] = 0
            for token in range(len(attention)):
                weights = attention[token] / 2
                weights[token] += 0.5
                attention[token] = weights / weights.sum()
            reached = sum(reached[i] * attention[i] for i in range(len(attention)))
        found.append(reached[prefix:].reshape(grid).numpy())
    return np.stack(found)


@pytest.mark.parametrize(
    ("head_fusion", "fuse", "discard_ratio"),
    [
        ("mean", lambda heads: heads.mean(0), 0.0),
        ("max", lambda heads: heads.amax(0), 0.7),
        ("min", lambda heads: heads.amin(0), 0.25),
    ],
)
def test_rollout_is_that_of_timms_attention(
    distilled, head_fusion, fuse, discard_ratio
):
    model, images, blocks = distilled
    found = attention_rollout(
        model, images, head_fusion=head_fusion, discard_ratio=discard_ratio
    )
    expected = followed(blocks, fuse, discard_ratio, 0, 2, (2, 3))
    np.testing.assert_allclose(found, expected, rtol=1e-9)


def test_what_reaches_a_patch(distilled):
    model, images, blocks = distilled
    found = attention_rollout(model, images, query=(1, 1))
    expected = followed(blocks, lambda heads: heads.mean(0), 0, 2 + 4, 2, (2, 3))
    np.testing.assert_allclose(found, expected, rtol=1e-9)


def test_all_that_reaches_the_mean_of_the_patches_is_one():
    config = micro_config(PLAIN, class_token=False, global_pool="avg")
    model, _ = pair(config)
    found = attention_rollout(model, images_of(32, 32), query="mean")
    np.testing.assert_allclose(found.sum((1, 2)), 1)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (dict(head_fusion="sum"), "head_fusion='sum': expected one of .'mean', 'max'"),
        (dict(discard_ratio=1), "discard_ratio=1: expected 0 or more, below 1"),
    ],
)
def test_what_rollout_does_not_know_is_an_error(distilled, arguments, message):
    model, images, _ = distilled
    with pytest.raises(ValueError, match=message):
        attention_rollout(model, images, **arguments)


@pytest.mark.parametrize(
    ("name", "arguments", "message"),
    [
        ("cait_xxs24_224", {}, r"blocks\.0\.attn is a TalkingHeadAttn, which mixes"),
        (PLAIN, dict(attn_layer="diff"), "is a DiffAttention, which mixes or subtr"),
        ("swin_tiny_patch4_window7_224", {}, "SwinTransformer found, whose attention"),
    ],
)
def test_a_model_whose_maps_are_no_means_is_an_error(name, arguments, message):
    model = models.build(models.small_config(name, **arguments))
    with pytest.raises(ValueError, match=message):
        attention_rollout(model, images_of(*model.img_size))
