"""What is shown of the weights alone: position embeddings, and filters."""

import numpy as np
import pytest
from explain_reference import pair
from micro import micro_config

from vit_tf import models
from vit_tf.explain import patch_filters, pos_embed_similarity
from vit_tf.reference import torch

HYBRID, SWIN = "vit_tiny_r_s16_p8_224", "swin_tiny_patch4_window7_224"


@pytest.fixture(scope="module")
def distilled():
    return pair(micro_config("deit_tiny_distilled_patch16_224", img_size=(32, 48)))


def test_similarity_is_the_cosine_of_timms_embeddings(distilled):
    model, reference = distilled
    patches = reference.module.pos_embed.detach()[0, 2:]
    found = pos_embed_similarity(model)
    assert found.shape == (2, 3, 2, 3)
    for i, j in np.ndindex(6, 6):
        cosine = torch.nn.functional.cosine_similarity(patches[i], patches[j], dim=0)
        place = (i // 3, i % 3, j // 3, j % 3)
        np.testing.assert_allclose(found[place], cosine.item(), rtol=1e-12)


def test_embeddings_of_the_patches_alone_are_of_the_patches():
    model, reference = pair(micro_config(no_embed_class=True))
    first, last = reference.module.pos_embed.detach()[0, [0, -1]].numpy()
    cosine = first @ last / np.sqrt((first @ first) * (last @ last))
    np.testing.assert_allclose(pos_embed_similarity(model)[0, 0, -1, -1], cosine)


@pytest.mark.parametrize(
    "config", [micro_config(pos_embed="none"), models.small_config(SWIN)]
)
def test_a_model_without_positions_is_an_error(config):
    with pytest.raises(ValueError, match="has no position embedding; expected: a Visi"):
        pos_embed_similarity(models.build(config))


def test_filters_are_those_of_timms_convolution(distilled):
    model, reference = distilled
    weight = reference.module.patch_embed.proj.weight.detach().numpy()
    found = patch_filters(model)
    assert found.shape == (24, 16, 16, 3)
    for channel in range(3):
        np.testing.assert_array_equal(found[..., channel], weight[:, channel])


def test_components_are_the_covariances_largest_eigenvectors(distilled):
    model, reference = distilled
    weight = reference.module.patch_embed.proj.weight.detach()
    rows = weight.permute(0, 2, 3, 1).flatten(1)  # (24, 768), as pixels
    rows = rows - rows.mean(0)
    _, vectors = torch.linalg.eigh(rows @ rows.T)  # the largest is the last
    vectors = torch.nn.functional.normalize(rows.T @ vectors, dim=0)
    found = patch_filters(model, components=5).reshape(5, -1)
    for i, component in enumerate(found):
        vector = vectors[:, -1 - i].numpy()
        vector = vector * np.sign(vector[np.abs(vector).argmax()])
        np.testing.assert_allclose(component, vector, atol=1e-10)


def test_more_components_than_filters_are_an_error(distilled):
    with pytest.raises(ValueError, match="components=25: 24 filters of 768 values fou"):
        patch_filters(distilled[0], components=25)


def test_a_hybrids_projection_sees_no_pixels():
    model = models.build(models.small_config(HYBRID))
    with pytest.raises(ValueError, match="VisionTransformerHybrid found, whose proj"):
        patch_filters(model)
