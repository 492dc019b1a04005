import numpy as np
import pytest
from explain_reference import images_of, pair, timm_attention

from vit_tf import models
from vit_tf.explain import class_attention_maps, class_saliency


@pytest.fixture(scope="module")
def cait():
    config = models.small_config("cait_xxs24_224", img_size=(48, 32))
    model, reference = pair(config)
    images = images_of(48, 32)
    attention = timm_attention(reference, images)
    return (
        model,
        images,
        [attention[f"blocks_token_only.{i}.attn.attn_drop"] for i in range(2)],
    )


def test_each_block_and_head_is_timms_without_the_class_token(cait):
    model, images, blocks = cait
    found = class_attention_maps(model, images)
    assert found.shape == (2, 2, 3, 3, 2)
    for i, block in enumerate(blocks):
        for token in range(6):
            np.testing.assert_allclose(
                found[:, i, :, token // 2, token % 2], block[:, :, 0, 1 + token]
            )


def test_saliency_is_the_mean_of_the_first_blocks_heads(cait):
    model, images, blocks = cait
    found = class_saliency(model, images)
    for image in range(2):
        heads = [blocks[0][image, head, 0, 1:].reshape(3, 2) for head in range(3)]
        np.testing.assert_allclose(found[image], sum(heads) / 3)


@pytest.mark.parametrize("show", [class_attention_maps, class_saliency])
def test_a_model_without_class_attention_is_an_error(show, model):
    with pytest.raises(
        ValueError, match=r"VisionTransformer found.*a Cait .attention_"
    ):
        show(model, images_of(32, 32))
