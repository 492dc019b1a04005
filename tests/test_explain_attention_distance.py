import math

import numpy as np
import pytest
from explain_reference import images_of, pair, timm_attention
from micro import micro_config

from vit_tf import models
from vit_tf.explain import mean_attention_distance


def by_pairs(attention, prefix, grid, pixels):
    """(B, heads) from (B, heads, N, N), a pair of patches after the other."""
    found = np.zeros(attention.shape[:2])
    height, width = grid
    for y, x, v, u in np.ndindex(height, width, height, width):
        distance = math.dist(
            (y * pixels[0], x * pixels[1]), (v * pixels[0], u * pixels[1])
        )
        weight = attention[:, :, prefix + y * width + x, prefix + v * width + u]
        found += weight * distance / (height * width)
    return found


@pytest.mark.parametrize(
    ("config", "size", "prefix", "grid", "pixels"),
    [
        (
            micro_config(patch_size=(16, 8), reg_tokens=2, dynamic_img_size=True),
            (48, 32), 3, (3, 4), (16, 8),
        ),
        (models.small_config("vit_tiny_r_s16_p8_224"), (64, 96), 1, (2, 3), (32, 32)),
    ],
    ids=["registers, rectangular, dynamic", "hybrid"],
)  # fmt: skip
def test_distances_are_those_of_timms_attention(config, size, prefix, grid, pixels):
    model, reference = pair(config)
    images = images_of(*size)
    found = mean_attention_distance(model, images)
    attention = timm_attention(reference, images)
    assert found.shape == (2, 2, 3)
    for i in range(2):
        expected = by_pairs(
            attention[f"blocks.{i}.attn.attn_drop"], prefix, grid, pixels
        )
        np.testing.assert_allclose(found[:, i], expected, rtol=1e-9)


def test_mixed_heads_are_an_error():
    model = models.build(models.small_config("cait_xxs24_224"))
    message = r"mean_attention_distance: blocks\.0\.attn is a TalkingHeadAttn"
    with pytest.raises(ValueError, match=message):
        mean_attention_distance(model, images_of(*model.img_size))
