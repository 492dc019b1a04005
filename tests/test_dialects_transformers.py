"""transformers' files, compared with transformers' own forward passes."""

import re

import numpy as np
import originals_transformers as originals
import pytest
from dialect_check import assert_same, randomised, tensors_of, translated

from vit_tf.checkpoints import CheckpointError
from vit_tf.checkpoints.dialects.transformers import TRANSFORMERS

MICRO = dict(patch_size=16, embed_dim=24, depth=2)
SWIN = dict(patch_size=2, embed_dim=12, num_classes=5)


def files(model):
    """Release 5's names, and those that it saves, which are release 4's."""
    old = originals.names_of_release_4(model)
    old = {name: tensor.numpy() for name, tensor in old.items()}
    return {"5": tensors_of(model), "4": old}


def logits(model):
    return lambda images: model(images).logits


def class_token(model):
    return lambda images: model(images).last_hidden_state[:, 0]


@pytest.fixture(params=["4", "5"])
def release(request):
    return request.param


def test_vit(release):
    model = randomised(originals.vit())
    translation = translated(files(model)[release], model.config.to_dict())
    assert translation.arguments["norm_layer"] == "LayerNorm(eps=1e-12)"
    assert_same(
        logits(model), translation, "vit_tiny_patch16_224",
        num_classes=5, mlp_ratio=40 / 24, **MICRO,
    )  # fmt: skip


@pytest.mark.parametrize(
    ("theirs", "ours"),
    [
        ("gelu", "gelu"),
        ("gelu_new", "gelu_tanh"),
        ("gelu_pytorch_tanh", "gelu_tanh"),
        ("quick_gelu", "quick_gelu"),
    ],
)
def test_activations_and_biases(theirs, ours):
    model = originals.vit(hidden_act=theirs, qkv_bias=False, layer_norm_eps=1e-3)
    model = randomised(model)
    translation = translated(tensors_of(model), model.config.to_dict())
    assert translation.arguments["act_layer"] == ours
    assert_same(
        logits(model), translation, "vit_tiny_patch16_224",
        num_classes=5, mlp_ratio=40 / 24, **MICRO,
    )  # fmt: skip


def test_a_pooler_is_left_out(release):
    model = randomised(originals.vit(head=False))
    translation = translated(files(model)[release], model.config.to_dict())
    assert set(translation.left_out) == {"pooler.dense.weight", "pooler.dense.bias"}
    assert_same(
        class_token(model), translation, "vit_tiny_patch16_224",
        num_classes=0, mlp_ratio=40 / 24, **MICRO,
    )  # fmt: skip


def test_deit_with_teacher(release):
    model = randomised(originals.deit())
    translation = translated(files(model)[release], model.config.to_dict())
    assert_same(
        logits(model), translation, "deit_tiny_distilled_patch16_224",
        num_classes=5, mlp_ratio=40 / 24, **MICRO,
    )  # fmt: skip


def test_a_deit_without_teacher_has_a_register(release):
    model = randomised(originals.deit(teacher=False))
    translation = translated(files(model)[release], model.config.to_dict())
    assert_same(
        logits(model), translation, "vit_tiny_patch16_224",
        num_classes=5, mlp_ratio=40 / 24, reg_tokens=1, **MICRO,
    )  # fmt: skip


@pytest.mark.parametrize("qkv_bias", [True, False])
def test_swin(release, qkv_bias):
    model = randomised(originals.swin(qkv_bias=qkv_bias))
    translation = translated(files(model)[release], model.config.to_dict())
    assert translation.arguments["depths"] == (2, 2)
    assert_same(logits(model), translation, "swin_tiny_patch4_window7_224", **SWIN)


@pytest.mark.parametrize(
    "options", [{}, {"pretrained_window_sizes": (3, 2)}, {"qkv_bias": False}]
)
def test_swinv2(release, options):
    model = randomised(originals.swinv2(**options))
    translation = translated(files(model)[release], model.config.to_dict())
    assert_same(logits(model), translation, "swinv2_tiny_window8_256", **SWIN)


def test_buffers_of_older_files_are_compared():
    model = randomised(originals.swin())
    tensors = files(model)["4"]
    index = model.swin.encoder.layers[0].blocks[0].attention.relative_position_bias
    index = index.relative_position_index.numpy().reshape(16, 16)
    name = "swin.encoder.layers.0.blocks.1.attention.self.relative_position_index"
    tensors[name] = index
    translation = translated(tensors, model.config.to_dict())
    assert set(translation.left_out) == {name}
    assert translated(tensors).arguments == {"window_size": 4}
    tensors[name] = index.T
    with pytest.raises(CheckpointError, match=f"{name}: .* windows of 4 x 4 tokens"):
        translated(tensors, model.config.to_dict())


@pytest.mark.parametrize("use_swiglu_ffn", [False, True])
@pytest.mark.parametrize("registers", [False, True])
def test_dinov2(release, registers, use_swiglu_ffn):
    make = originals.dinov2_with_registers if registers else originals.dinov2
    model = randomised(make(use_swiglu_ffn=use_swiglu_ffn))
    tensors = files(model)[release]
    translation = translated(tensors, model.config.to_dict())
    assert set(translation.left_out) == {"embeddings.mask_token"}
    shapes = dict(mlp_ratio=128 / 24 if use_swiglu_ffn else 4)
    assert_same(
        class_token(model), translation, "vit_small_patch14_dinov2",
        reg_tokens=4 if registers else 0, **{**MICRO, **shapes},
    )  # fmt: skip


def test_dinov2s_classifier_is_left_out(release):
    model = randomised(originals.dinov2_classifier())
    translation = translated(files(model)[release], model.config.to_dict())
    left_out = {"dinov2.embeddings.mask_token", "classifier.weight", "classifier.bias"}
    assert set(translation.left_out) == left_out
    assert_same(
        class_token(model.dinov2), translation, "vit_small_patch14_dinov2",
        mlp_ratio=4, **MICRO,
    )  # fmt: skip


def test_hybrid(release):
    model = randomised(originals.hybrid())
    tensors = files(model)[release]
    assert (
        "vit.embeddings.patch_embeddings.backbone.bit.embedder.norm.weight" in tensors
    )
    config = {**model.config.to_dict(), "model_type": "vit-hybrid"}
    config["backbone_config"] = (
        model.vit.embeddings.patch_embeddings.backbone.config.to_dict()
    )
    translation = translated(tensors, config)
    assert translation.arguments["backbone_layers"] == (1, 1)
    assert_same(
        logits(model), translation, "vit_base_r50_s16_224",
        num_classes=5, mlp_ratio=40 / 24, backbone_channels=(128, 256),
        **{**MICRO, "patch_size": 1},
    )  # fmt: skip


def test_labels_travel():
    model = originals.vit()
    config = model.config.to_dict()
    assert translated(tensors_of(model), config).facts == {}  # LABEL_0 ...
    names = ["cat", "dog", "owl", "ant", "bee"]
    config["id2label"] = {str(i): names[i] for i in (3, 1, 0, 4, 2)}
    translation = translated(tensors_of(model), config)
    assert translation.facts == {"label_names": names}
    del config["id2label"]["4"]
    with pytest.raises(
        CheckpointError, match="id2label with 4 names found, 0 to 4 exp"
    ):
        translated(tensors_of(model), config)


def test_half_precision_stays_what_it_is():
    model = randomised(originals.dinov2_with_registers()).half()
    tensors = tensors_of(model)
    translation = translated(tensors, model.config.to_dict())
    found = translation.tensors
    assert {found[name].dtype for name in found} == {np.dtype(np.float16)}
    token, positions = (
        model.embeddings.cls_token, model.embeddings.position_embeddings
    )  # fmt: skip
    expected = (token + positions[:, :1]).detach().numpy()
    np.testing.assert_array_equal(found["cls_token"], expected)


def test_a_missing_bias_goes_by_its_files_name():
    tensors = tensors_of(originals.vit())
    missing = "vit.layers.1.attention.k_proj.bias"
    del tensors[missing]
    found = set(TRANSFORMERS.translate(tensors, {}).tensors)
    assert "blocks.0.attn.qkv.bias" in found
    assert "blocks.1.attn.qkv.bias" not in found
    assert "vit.layers.1.attention.q_proj.bias" in found


def test_unknown_names_stay():
    tensors = {**tensors_of(originals.vit()), "vit.adapter.weight": np.zeros(3)}
    assert "adapter.weight" in TRANSFORMERS.translate(tensors, {}).tensors


@pytest.mark.parametrize(
    ("make", "changes", "expected"),
    [
        (originals.vit, {"model_type": "beit"}, "model_type='beit' found, 'vit' exp"),
        (
            originals.vit,
            {"hidden_act": "mish"},
            "hidden_act='mish' found, one of gelu,",
        ),
        (
            originals.swin,
            {"hidden_act": "relu", "layer_norm_eps": 1e-12},
            "layer_norm_eps=1e-12 found, 1e-05 expected: timm has no other; "
            "hidden_act='relu' found, 'gelu' expected: timm has no other",
        ),
        (
            originals.swin,
            {"image_size": 40},
            "a feature map of 10 x 10 tokens found in stage 1, whole windows of 4 x 4",
        ),
        (
            originals.swin,
            {"image_size": [8, 16]},
            "a feature map of 4 x 8 tokens found in stage 0, whole windows of 4 x 4",
        ),
        (
            originals.swin,
            {"image_size": 33},
            "image_size=(33, 33) found, whole patches of (2, 2) expected",
        ),
    ],
)
def test_what_timm_does_not_have_is_an_error(make, changes, expected):
    model = make()
    config = {**model.config.to_dict(), **changes}
    with pytest.raises(CheckpointError, match=re.escape(expected)):
        TRANSFORMERS.translate(tensors_of(model), config)


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        (
            {"layer_type": "preactivation", "global_padding": None},
            "backbone_config.layer_type='preactivation' found, 'bottleneck' expected: "
            "timm has no other; backbone_config.global_padding=None found, 'SAME'",
        ),
        (
            {"out_features": ["stage1"]},
            "backbone_config.out_features=['stage1'] found, ['stage2'] expected",
        ),
    ],
)
def test_another_bit_is_an_error(changes, expected):
    model = originals.hybrid()
    bit = model.vit.embeddings.patch_embeddings.backbone.config.to_dict()
    config = {"model_type": "vit-hybrid", "backbone_config": {**bit, **changes}}
    with pytest.raises(CheckpointError, match=re.escape(expected)):
        TRANSFORMERS.translate(tensors_of(model), config)


def test_values_of_other_types_are_listed():
    config = {"model_type": "vit", "image_size": [32], "id2label": ["cat"]}
    config |= {"hidden_act": 3, "num_attention_heads": True, "layer_norm_eps": None}
    with pytest.raises(CheckpointError) as raised:
        TRANSFORMERS.translate(tensors_of(originals.vit()), config)
    assert str(raised.value) == (
        "config.json: image_size=[32] found, a positive number or two expected; "
        "num_attention_heads=True found, a positive number expected; "
        "hidden_act=3 found, a name expected; "
        "id2label=['cat'] found, names by number expected"
    )


def test_shapes_that_cannot_be_joined_are_an_error():
    tensors = tensors_of(originals.vit())
    name = "vit.layers.0.attention.q_proj.weight"
    tensors[name] = tensors[name][:, :5]
    found = TRANSFORMERS.translate(tensors, {}).tensors
    message = rf"{name} \(24, 5\), .* found; expected: shapes of which blocks\.0\.attn"
    with pytest.raises(CheckpointError, match=message):
        found["blocks.0.attn.qkv.weight"]
