import keras
import numpy as np
import pytest
from explain_reference import images_of, pair, timm_attention
from micro import micro_config

from vit_tf import models
from vit_tf.explain import attention_maps
from vit_tf.mapping import MappingError

PLAIN, DISTILLED = "deit_tiny_patch16_224", "deit_tiny_distilled_patch16_224"
HYBRID, CAIT, SWIN = (
    "vit_tiny_r_s16_p8_224",
    "cait_xxs24_224",
    "swin_tiny_patch4_window7_224",
)


def token_by_token(attention, row, prefix, grid):
    """A row of (B, heads, N, N) as images, one token after the other."""
    height, width = grid
    found = np.empty((*attention.shape[:2], height, width))
    for y in range(height):
        for x in range(width):
            found[:, :, y, x] = attention[:, :, row, prefix + width * y + x]
    return found


# Name, arguments, the images' size, prefix tokens, the grid.
CASES = {
    "rectangular, distilled": (DISTILLED, dict(img_size=(48, 32)), (48, 32), 2, (3, 2)),
    "registers": (PLAIN, dict(reg_tokens=3), (32, 32), 4, (2, 2)),
    "dynamic": (
        PLAIN, dict(dynamic_img_size=True, dynamic_img_pad=True), (40, 56), 1, (3, 4),
    ),
    "no module of its own, two maps a head": (
        PLAIN, dict(block_fn="DiffParallelScalingBlock"), (32, 32), 1, (2, 2),
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", CASES)
def test_the_class_tokens_row_is_timms_without_the_prefix_tokens(case):
    name, arguments, size, prefix, grid = CASES[case]
    model, reference = pair(micro_config(name, **arguments))
    images = images_of(*size)
    attention = timm_attention(reference, images)
    block = attention[min(n for n in attention if n.startswith("blocks.1."))]
    maps = attention_maps(model, images)
    assert maps.dtype == np.float64
    expected = token_by_token(block, 0, prefix, grid)
    np.testing.assert_allclose(maps, expected, rtol=1e-10)


@pytest.fixture(scope="module")
def distilled():
    config = micro_config(DISTILLED, img_size=(32, 48))
    return (*pair(config), images_of(32, 48))


def test_any_block_and_any_token(distilled):
    model, reference, images = distilled
    first = timm_attention(reference, images)["blocks.0.attn.attn_drop"]
    for query, row in {"distillation": 1, (1, 2): 2 + 5}.items():
        found = attention_maps(model, images, 0, query=query)
        np.testing.assert_allclose(found, token_by_token(first, row, 2, (2, 3)))
    mean = sum(token_by_token(first, row, 2, (2, 3)) for row in range(2, 8)) / 6
    found = attention_maps(model, images, -2, query="mean")
    np.testing.assert_allclose(found, mean)


def test_the_patches_of_a_hybrid_are_of_its_features():
    config = models.small_config(HYBRID)
    model, reference = pair(config)
    images = images_of(*config.model.img_size)
    last = timm_attention(reference, images)["blocks.1.attn.attn_drop"]
    expected = token_by_token(last, 0, 1, (2, 3))
    np.testing.assert_allclose(attention_maps(model, images), expected, rtol=1e-9)


def test_attentions_side_by_side_come_one_behind_the_other():
    model, reference = pair(micro_config(PLAIN, block_fn="ParallelThingsBlock"))
    images = images_of(32, 32)
    attention = timm_attention(reference, images)
    maps = attention_maps(model, images, 0)
    assert maps.shape == (2, 6, 2, 2)
    for i in range(2):
        part = attention[f"blocks.0.attns.{i}.attn.attn_drop"]
        expected = token_by_token(part, 0, 1, (2, 2))
        np.testing.assert_allclose(maps[:, 3 * i : 3 * i + 3], expected, rtol=1e-10)


def test_without_a_class_token_the_mean_of_the_patches_is_asked_for():
    config = micro_config(PLAIN, class_token=False, global_pool="avg", reg_tokens=1)
    model, reference = pair(config)
    images = images_of(32, 32)
    with pytest.raises(
        ValueError, match=r"no class token.*expected no token, \"mean\""
    ):
        attention_maps(model, images)
    last = timm_attention(reference, images)["blocks.1.attn.attn_drop"]
    mean = sum(token_by_token(last, row, 1, (2, 2)) for row in range(1, 5)) / 4
    np.testing.assert_allclose(attention_maps(model, images, query="mean"), mean)


def test_the_heads_of_a_cait_are_those_that_were_mixed():
    config = models.small_config(CAIT)  # 2 x 3 patches
    model, reference = pair(config)
    images = images_of(*config.model.img_size)
    last = timm_attention(reference, images)["blocks.1.attn.attn_drop"]
    found = attention_maps(model, images, query=(1, 0))
    np.testing.assert_allclose(found, token_by_token(last, 3, 0, (2, 3)), rtol=1e-9)
    with pytest.raises(ValueError, match="Cait has no class token among those"):
        attention_maps(model, images)


def test_a_model_is_as_before(distilled):
    model, _, images = distilled
    before = model(images).numpy()
    attention_maps(model, images)
    assert not any("call" in vars(layer) for layer in model._flatten_layers())
    np.testing.assert_array_equal(model(images).numpy(), before)


def test_half_precision_comes_as_float32():
    config = micro_config()
    model = models.build(config, dtype="mixed_bfloat16")
    maps = attention_maps(model, images_of(32, 32).astype(np.float32))
    assert maps.dtype == np.float32


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (dict(block=2), "block=2 found, one of 2 blocks expected"),
        (dict(query=(2, 0)), r"query=\(2, 0\): expected a .* grid of 2 x 3 tokens"),
        (dict(query="head"), "query='head': expected one of .'class', 'dist"),
    ],
)
def test_what_is_not_there_is_an_error(distilled, arguments, message):
    model, _, images = distilled
    with pytest.raises(ValueError, match=message):
        attention_maps(model, images, **arguments)


def test_one_image_without_a_batch_is_an_error(distilled):
    model, _, images = distilled
    with pytest.raises(ValueError, match=r"\(32, 48, 3\) found, \(B, height, width, 3"):
        attention_maps(model, images[0])


def test_windows_are_an_error_that_names_what_is_for_them():
    model = models.build(models.small_config(SWIN))
    with pytest.raises(
        ValueError, match=r"SwinTransformer found.*window_attention_maps"
    ):
        attention_maps(model, images_of(*model.img_size))


def test_a_model_around_ours_is_an_error(distilled):
    model, _, images = distilled
    inputs = keras.Input((32, 48, 3), dtype="float64")
    outer = keras.Model(inputs, model(inputs))
    with pytest.raises(MappingError, match="a model of vit_tf itself"):
        attention_maps(outer, images)


def test_the_token_of_a_distilled_model_is_not_any_models(config, model):
    with pytest.raises(ValueError, match="has no distillation token"):
        attention_maps(model, images_of(32, 32), query="distillation")
