"""Weight decay and learning rates by groups: by name what timm gives."""

import pytest
from timm.optim import create_optimizer_v2

from vit_tf import models, proof
from vit_tf.layers.initializers import skip_init
from vit_tf.reference import timm, timm_arguments, torch
from vit_tf.training.param_groups import ParamGroup, layers_of, param_groups

NAMES = [
    "vit_tiny_patch16_224",
    "vit_base_patch16_clip_224",  # a norm before the blocks
    "vit_base_patch16_siglip_224",  # a pooling with parameters
    "vit_betwixt_patch16_reg4_gap_256",  # registers, a norm behind the pooling
    "vit_xsmall_patch16_clip_224",
    "deit_tiny_distilled_patch16_224",
    "deit3_small_patch16_224",
    "cait_xxs24_224",
    "swin_tiny_patch4_window7_224",
    "swinv2_tiny_window8_256",
    "vit_tiny_r_s16_p8_224",
    "vit_small_resnet26d_224",
]
DECAYS = [
    dict(weight_decay=0.05, layer_decay=None),
    dict(weight_decay=0.05, layer_decay=0.65),
    dict(weight_decay=0.0, layer_decay=0.75, min_scale=0.5),
    dict(weight_decay=0.0, layer_decay=None),
]


def both_models(name: str):
    """Ours, and timm's on the meta device."""
    config = models.small_config(name)
    with skip_init():
        ours = models.build(config)
    with torch.device("meta"):
        arguments = timm_arguments(proof.shared_arguments(config))
        return ours, timm.create_model(config.architecture, **arguments)


def groups_of_timm(module, *, weight_decay, layer_decay, min_scale=0.0) -> dict:
    """timm name -> weight decay and scale of the learning rate."""
    optimizer = create_optimizer_v2(
        module,
        "sgd",
        lr=1.0,
        weight_decay=weight_decay,
        layer_decay=layer_decay,
        layer_decay_min_scale=min_scale,
    )
    names = {id(p): name for name, p in module.named_parameters()}
    return {
        names[id(p)]: (group["weight_decay"], group.get("lr_scale", 1.0))
        for group in optimizer.param_groups
        for p in group["params"]
    }


@pytest.mark.parametrize("name", NAMES)
def test_groups_are_those_of_timm(name):
    ours, module = both_models(name)
    for decays in DECAYS:
        groups = param_groups(ours, **decays)
        found = {
            n: (group.weight_decay, group.lr_scale)
            for group in groups
            for n in group.names
        }
        assert found == groups_of_timm(module, **decays)
        assert len({(g.weight_decay, g.lr_scale) for g in groups}) == len(groups)


def test_layers_count_from_the_stem_to_the_head():
    ours, _ = both_models("vit_tiny_patch16_224")
    layers = layers_of(ours)
    assert layers["pos_embed"] == layers["patch_embed.proj.weight"] == 0
    assert layers["blocks.0.attn.qkv.bias"] == 1
    assert layers["norm.weight"] == ours.depth
    assert layers["head.bias"] == ours.depth + 1


def test_what_is_frozen_or_exempt_is_left_alone():
    ours, _ = both_models("vit_tiny_patch16_224")
    ours.patch_embed.trainable = False
    patterns = ("*.attn.*",)
    groups = param_groups(ours, weight_decay=0.1, no_weight_decay=patterns)
    decayed = {n for g in groups if g.weight_decay for n in g.names}
    assert "pos_embed" in decayed
    assert not {n for n in decayed if ".attn." in n}
    assert not {n for g in groups for n in g.names if n.startswith("patch_embed")}
    assert all(isinstance(group, ParamGroup) for group in groups)
