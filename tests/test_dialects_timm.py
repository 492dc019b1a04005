"""timm's own files, as it names things now and as it did, and no other dialect's."""

import numpy as np
import pytest
import timm
from dialect_check import assert_equal, assert_same, translated
from micro import micro_config, random_tensors
from timm.models.vision_transformer import checkpoint_filter_fn

from vit_tf import models, source
from vit_tf.checkpoints import dialects
from vit_tf.checkpoints.dialects.timm import TIMM
from vit_tf.checkpoints.errors import UnknownLayoutError
from vit_tf.checkpoints.random import RandomTensors
from vit_tf.reference import Reference, torch

MICRO = dict(img_size=32, embed_dim=24, depth=2, num_heads=3, num_classes=7)
ARCHITECTURES = {
    "vit_tiny_patch16_224": "",
    "deit3_small_patch16_224": "",
    "deit_tiny_distilled_patch16_224": "deit",
    "cait_xxs24_224": "cait",
    "swin_tiny_patch4_window7_224": "swin_transformer",
    "swinv2_tiny_window8_256": "swin_transformer_v2",
    "vit_small_r26_s32_224": "vision_transformer_hybrid",
    "vit_base_mci_224": "vision_transformer_hybrid",
    "vit_giant_patch14_reg4_dinov2": "",
    "vit_base_patch16_clip_224": "",
    "vit_so400m_patch14_siglip_224": "",
    "vit_small_patch16_18x2_224": "",
    "vit_base_patch16_xp_224": "",
    "beit3_base_patch16_224": "",
    "aimv2_large_patch14_224": "",
}


@pytest.mark.parametrize(("name", "family"), ARCHITECTURES.items())
def test_timms_names_stay(name, family):
    shapes = source.parameter_shapes(models.small_config(name))
    tensors = RandomTensors(shapes, 0)
    translation = translated(tensors)
    assert translation.family == family
    assert set(translation.tensors) == set(tensors)
    assert not translation.left_out
    assert not translation.arguments


def torch_tensors(tensors):
    return {name: torch.from_numpy(array) for name, array in tensors.items()}


def test_a_linear_patch_embedding_is_what_timm_makes_of_it(config, tensors):
    weight = "patch_embed.proj.weight"
    old = {**tensors, weight: tensors[weight].reshape(24, -1)}
    model = timm.create_model(config.architecture, **MICRO)
    filtered = checkpoint_filter_fn(torch_tensors(old), model)
    found = translated(old).tensors
    assert found[weight].shape == (24, 3, 16, 16)
    assert_equal(found, filtered)


def test_a_matrix_of_other_patches_is_an_error(tensors):
    tensors["patch_embed.proj.weight"] = np.zeros((24, 100), np.float32)
    with pytest.raises(UnknownLayoutError, match=r"a matrix \(24, 100\) found; expec"):
        TIMM.translate(tensors, {})


PRE_LOGITS = {
    "pre_logits.fc.weight": np.ones((24, 24), np.float32),
    "pre_logits.fc.bias": np.ones(24, np.float32),
}


def test_pre_logits_goes_as_in_timm_and_so_does_what_reads_it(config, tensors):
    old = {**tensors, **PRE_LOGITS}
    model = timm.create_model(config.architecture, **MICRO)
    filtered = checkpoint_filter_fn(torch_tensors(old), model)
    translation = translated(old)
    head = {"head.weight", "head.bias"}
    assert set(translation.left_out) == {*PRE_LOGITS, *head}
    assert translation.arguments == {"num_classes": 0}
    kept = {name: tensor for name, tensor in filtered.items() if name not in head}
    assert_equal(translation.tensors, kept)


def test_without_a_head_pre_logits_goes_alone():
    config = micro_config(num_classes=0)
    tensors = random_tensors(config)
    translation = translated({**tensors, **PRE_LOGITS})
    assert set(translation.left_out) == set(PRE_LOGITS)
    arguments = {**MICRO, "num_classes": 0}
    reference = Reference(config.architecture, tensors, arguments, dtype="float64")

    def features(images):
        logits = reference.logits(images.permute(0, 2, 3, 1).numpy())
        return torch.from_numpy(logits)

    del arguments["num_classes"]
    assert_same(features, translation, config.architecture, **arguments)


# JAX's needs to find where the model's tree begins: see test_flax.py.
@pytest.mark.parametrize(
    "dialect",
    [dialect for dialect in dialects.DIALECTS if dialect.name != "flax"],
    ids=lambda dialect: dialect.name,
)
def test_a_dialect_that_does_not_fit_leaves_what_it_does_not_know(dialect):
    tensors = {"a.b": np.zeros(1), "visual.c": np.zeros(2)}
    translation = dialect.translate(tensors, {})
    found = translation.tensors.sources | set(translation.left_out)
    assert found == set(tensors)


def test_a_dialect_may_be_named(tensors):
    assert dialects.detect(tensors) is TIMM
    assert dialects.detect({}, "microsoft").name == "microsoft"
    with pytest.raises(
        UnknownLayoutError, match="dialect 'jax' found; expected: flax, "
    ):
        dialects.detect(tensors, "jax")
    with pytest.raises(UnknownLayoutError, match="tensors named a, b found; expected"):
        dialects.detect({"a": np.zeros(1), "b": np.zeros(1)})
