import numpy as np
import pytest
from explain_reference import images_of, pair, timm_gradients
from micro import micro_config

from vit_tf import models
from vit_tf.explain import gradient_attention

PLAIN, DISTILLED = "deit_tiny_patch16_224", "deit_tiny_distilled_patch16_224"
CAIT, SWIN = "cait_xxs24_224", "swin_tiny_patch4_window7_224"


def weighted(attention, gradients, image):
    """Equation 5 for one image: a mean over heads, entry by entry."""
    heads, queries, keys = attention.shape[1:]
    found = np.zeros((queries, keys))
    for head in range(heads):
        for i, j in np.ndindex(queries, keys):
            product = gradients[image, head, i, j] * attention[image, head, i, j]
            found[i, j] += max(product, 0) / heads
    return found


def relevance(blocks, tokens):
    """Equation 6: each block's is a matrix among its last tokens, from `first` on."""
    total = np.zeros((tokens, tokens))
    for token in range(tokens):
        total[token, token] = 1
    for first, block in blocks:
        before = total.copy()
        for i, j in np.ndindex(block.shape):
            total[first + i] += block[i, j] * before[first + j]
    return total


def of_timm(reference, images, classes, names):
    attention, gradients = timm_gradients(reference, images, classes)
    return [
        [weighted(attention[name], gradients[name], image) for name in names]
        for image in range(len(images))
    ]


@pytest.mark.parametrize(
    ("name", "arguments", "prefix", "rows"),
    [
        (DISTILLED, {}, 2, {"class": 0, "distillation": 1}),
        (PLAIN, dict(attn_layer="diff", reg_tokens=1), 2, {"class": 0}),
    ],
)
def test_relevance_is_that_of_timms_gradients(name, arguments, prefix, rows):
    model, reference = pair(micro_config(name, img_size=(32, 48), **arguments))
    images, classes = images_of(32, 48), [5, 2]
    names = [f"blocks.{i}.attn.attn_drop" for i in range(2)]
    expected = [
        relevance([(0, block) for block in blocks], prefix + 6)
        for blocks in of_timm(reference, images, classes, names)
    ]
    for query, row in rows.items():
        found = gradient_attention(model, images, classes, query=query)
        for image in range(2):
            patches = expected[image][row, prefix:].reshape(2, 3)
            np.testing.assert_allclose(found[image], patches, rtol=1e-8)


def test_the_predicted_class_is_the_default_and_patches_may_be_asked():
    model, reference = pair(micro_config(PLAIN, class_token=False, global_pool="avg"))
    model.trainable = False  # as where somebody has frozen it
    images = images_of(32, 32)
    classes = reference.logits(images).argmax(1).tolist()
    names = [f"blocks.{i}.attn.attn_drop" for i in range(2)]
    found = gradient_attention(model, images, query="mean")
    np.testing.assert_array_equal(
        found, gradient_attention(model, images, classes, query="mean")
    )
    for image, blocks in enumerate(of_timm(reference, images, classes, names)):
        rows = relevance([(0, block) for block in blocks], 4)
        expected = sum(rows[token] for token in range(4)) / 4
        np.testing.assert_allclose(found[image], expected.reshape(2, 2), rtol=1e-8)


def test_in_a_cait_the_class_token_asks_behind_the_patches():
    config = models.small_config(CAIT)  # 2 x 3 patches
    model, reference = pair(config)
    images = images_of(*config.model.img_size)
    names = [f"blocks.{i}.attn.attn_drop" for i in range(2)]
    names += [f"blocks_token_only.{i}.attn.attn_drop" for i in range(2)]
    found = gradient_attention(model, images, 3)
    for image, blocks in enumerate(of_timm(reference, images, [3, 3], names)):
        rows = relevance(list(zip((1, 1, 0, 0), blocks, strict=True)), 7)
        np.testing.assert_allclose(found[image], rows[0, 1:].reshape(2, 3), rtol=1e-8)


@pytest.mark.parametrize("classes", [7, -1, [0], [0, 7]])
def test_a_class_that_is_not_there_is_an_error(model, classes):
    message = r"classes=.*a class from 0 to 6, one for all or for each of 2 images"
    with pytest.raises(ValueError, match=message):
        gradient_attention(model, images_of(32, 32), classes)


def test_a_model_without_scores_is_an_error():
    model = models.build(micro_config(num_classes=0))
    with pytest.raises(ValueError, match="num_classes=0 and global_pool='token' found"):
        gradient_attention(model, images_of(32, 32))


def test_windows_are_an_error():
    model = models.build(models.small_config(SWIN))
    with pytest.raises(ValueError, match="gradient_attention: SwinTransformer found"):
        gradient_attention(model, images_of(*model.img_size))
