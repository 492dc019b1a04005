"""facebookresearch's files, compared with the originals, and with timm's filters."""

import ml_dtypes
import numpy as np
import originals_facebookresearch as originals
import pytest
import timm
import torch
from dialect_check import assert_equal, assert_same, randomised, tensors_of, translated
from timm.layers import SwiGLUPacked
from timm.models import cait
from timm.models.vision_transformer import checkpoint_filter_fn

from vit_tf.checkpoints.dialects.facebookresearch import FACEBOOKRESEARCH
from vit_tf.checkpoints.errors import UnknownLayoutError

MICRO = dict(patch_size=16, embed_dim=24, depth=2, num_heads=3)
DINOV2 = {**MICRO, "depth": 3}


def timm_model(name, **arguments):
    return timm.create_model(name, img_size=32, **arguments)


@pytest.mark.parametrize(
    ("make", "name", "dialect_family", "arguments"),
    [
        (lambda: originals.VisionTransformer(5), "deit_tiny_patch16_224", "", {}),
        (originals.DistilledDeit, "deit_tiny_distilled_patch16_224", "deit", {}),
        (originals.Deit3, "deit3_small_patch16_224", "deit", {}),
        (originals.Cait, "cait_xxs24_224", "cait", {}),
        (originals.FineTunedMae, "vit_base_patch16_224", "", {"global_pool": "avg"}),
    ],
    ids=["deit", "distilled", "deit3", "cait", "mae"],
)
def test_classifiers(make, name, dialect_family, arguments):
    model = randomised(make())
    translation = translated(tensors_of(model))
    assert translation.family == dialect_family
    assert not translation.left_out
    assert_same(model, translation, name, num_classes=5, **MICRO, **arguments)


def test_deit3_is_what_timm_makes_of_it():
    model = originals.Deit3()
    name = "deit3_small_patch16_224"
    filtered = checkpoint_filter_fn(
        model.state_dict(), timm_model(name, **MICRO), adapt_layer_scale=True
    )
    assert_equal(translated(tensors_of(model)).tensors, filtered)


def test_cait_is_what_timm_makes_of_it():
    model = originals.Cait()
    filtered = cait.checkpoint_filter_fn(model.state_dict())
    assert_equal(translated(tensors_of(model)).tensors, filtered)


def test_dinos_projection_head_is_left_out():
    model = randomised(originals.DinoTeacher())
    tensors = tensors_of(model)
    translation = translated(tensors)
    assert set(translation.left_out) == {n for n in tensors if n.startswith("head.")}
    assert_same(model, translation, "vit_small_patch16_224", num_classes=0, **MICRO)


def test_maes_decoder_is_left_out():
    model = randomised(originals.MaskedAutoencoder())
    tensors = tensors_of(model)
    translation = translated(tensors)
    beside = {n for n in tensors if n.startswith("decoder_")} | {"mask_token"}
    assert set(translation.left_out) == beside
    assert_same(model, translation, "vit_base_patch16_224", num_classes=0, **MICRO)


@pytest.mark.parametrize("chunks", [False, True])
@pytest.mark.parametrize("swiglu", [False, True])
@pytest.mark.parametrize("registers", [0, 4])
def test_dinov2(registers, swiglu, chunks):
    model = randomised(originals.Dinov2(registers, swiglu, chunks))
    translation = translated(tensors_of(model))
    assert set(translation.left_out) == {"mask_token"}
    shapes = dict(mlp_ratio=128 / 24) if swiglu else {}
    assert_same(
        model, translation, "vit_small_patch14_dinov2",
        reg_tokens=registers, **shapes, **DINOV2,
    )  # fmt: skip


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16])
@pytest.mark.parametrize("swiglu", [False, True])
@pytest.mark.parametrize("registers", [0, 4])
def test_dinov2_is_what_timm_makes_of_it(registers, swiglu, dtype):
    model = randomised(originals.Dinov2(registers, swiglu)).to(dtype)
    arguments = dict(DINOV2, reg_tokens=registers, no_embed_class=bool(registers))
    if swiglu:
        arguments |= dict(mlp_layer=SwiGLUPacked, mlp_ratio=128 / 24)
    theirs = timm_model("vit_small_patch14_dinov2", **arguments)
    filtered = checkpoint_filter_fn(model.state_dict(), theirs)
    tensors = {name: as_array(tensor) for name, tensor in model.state_dict().items()}
    found = translated(tensors).tensors
    assert {found[name].dtype for name in found} == {tensors["cls_token"].dtype}
    assert set(found) == set(filtered)
    for name, tensor in filtered.items():
        np.testing.assert_array_equal(found[name], as_array(tensor), err_msg=name)


def as_array(tensor):
    if tensor.dtype == torch.bfloat16:
        return tensor.contiguous().view(torch.int16).numpy().view(ml_dtypes.bfloat16)
    return tensor.numpy()


def test_dinov2s_teacher_has_two_heads_beside_it():
    inner = tensors_of(originals.Dinov2(chunks=True))
    tensors = {f"backbone.{name}": array for name, array in inner.items()}
    heads = {f"{name}_head.mlp.0.weight": np.zeros(3) for name in ("dino", "ibot")}
    translation = translated({**tensors, **heads})
    assert set(translation.left_out) == {"backbone.mask_token", *heads}
    plain = translated(tensors_of(originals.Dinov2())).tensors
    assert set(translation.tensors) == set(plain)


def test_two_tensors_of_one_name_are_an_error():
    tensors = tensors_of(originals.Dinov2(chunks=True))
    twice = "blocks.1.0.norm1.bias"
    tensors[twice] = tensors["blocks.0.0.norm1.bias"]
    with pytest.raises(UnknownLayoutError) as raised:
        FACEBOOKRESEARCH.translate(tensors, {})
    assert str(raised.value) == (
        f"blocks.0.0.norm1.bias and {twice} (both blocks.0.norm1.bias) found; "
        "expected: one tensor for each of timm's names"
    )


def test_tensors_are_read_when_they_are_asked_for():
    class Counted(dict):
        read = 0

        def __getitem__(self, name):
            Counted.read += 1
            return super().__getitem__(name)

    tensors = Counted(tensors_of(originals.Dinov2(4)))
    translation = FACEBOOKRESEARCH.translate(tensors, {})
    assert Counted.read == 0
    assert translation.tensors["pos_embed"].shape == (1, 4, 24)
    assert Counted.read == 1
