"""Which parameters train."""

import pytest

import vit_tf
from vit_tf import mapping, models, proof
from vit_tf.training import (
    attention,
    freeze,
    head,
    layers_below,
    norms,
    train_only,
)
from vit_tf.training.freeze import UnknownNameError


def trainable(model) -> set[str]:
    return {e.name for e in mapping.entries(model) if e.weight.trainable}


def names(model) -> set[str]:
    return {e.name for e in mapping.entries(model)}


def test_a_module_stands_for_all_in_it_and_for_nothing_else(model):
    freeze(model, ["blocks.1", "pos_embed"])
    frozen = names(model) - trainable(model)
    assert frozen == {n for n in names(model) if n.startswith("blocks.1.")} | {
        "pos_embed"
    }


def test_layers_below_freeze_the_stem_and_the_first_blocks(model):
    freeze(model, layers_below(model, 2))
    assert {n.split(".")[0] for n in trainable(model)} == {"blocks", "norm", "head"}
    assert {n[:8] for n in trainable(model) if n[:3] == "blo"} == {"blocks.1"}
    with pytest.raises(ValueError, match=r"layer=4: .* has 0 to 3"):
        layers_below(model, 4)


def test_parts_by_what_they_are():
    model = models.build(models.small_config("deit_tiny_distilled_patch16_224"))
    heads = {f"{h}.{p}" for h in ("head", "head_dist") for p in ("weight", "bias")}
    assert set(head(model)) == heads
    assert all(".norm" in f".{n}" for n in norms(model))
    assert len(norms(model)) == 10
    assert {n.split(".")[2] for n in attention(model)} == {"attn"}
    train_only(model, [*attention(model), "head"])
    assert trainable(model) == set(attention(model)) | {"head.weight", "head.bias"}


def test_a_swin_has_the_same_parts():
    model = models.build(models.small_config("swinv2_tiny_window8_256"))
    assert set(head(model)) == {"head.fc.weight", "head.fc.bias"}
    assert all(".attn." in name for name in attention(model))
    assert any("cpb_mlp" in name for name in attention(model))


def test_what_a_model_has_not_is_an_error():
    model = vit_tf.create_model(
        "vit_tiny_patch16_224", num_classes=0, img_size=32, embed_dim=24, depth=1,
        num_heads=3, block_fn="ParallelScalingBlock",
    )  # fmt: skip
    for part in (head, attention):
        with pytest.raises(ValueError, match="with parameters of its own"):
            part(model)


def test_unknown_names_are_one_error_and_nothing_is_frozen(model):
    with pytest.raises(UnknownNameError, match=r"'block.1' .close: blocks.1.*'zzz'; "):
        freeze(model, ["blocks.0", "block.1", "zzz"])
    assert trainable(model) == names(model)


def test_a_frozen_batch_norm_keeps_its_statistics():
    config = models.small_config("vit_small_resnet26d_224")
    model = models.build(config)
    freeze(model, ["patch_embed"])
    before = mapping.extract(model)
    model(proof.random_images(config), training=True)
    after = mapping.extract(model)
    assert "patch_embed.backbone.bn1.running_mean" in before
    assert all((after[name] == before[name]).all() for name in before)
