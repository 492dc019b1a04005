"""timm's hybrids: what their constructors are given beyond the defaults.

timm gives them a network as an object, which is described here: its kind
(`backbone`), the blocks of its stages (`backbone_layers`), its widths
(`backbone_channels`).
"""

from collections.abc import Mapping
from typing import Any

from ml_collections import ConfigDict
from vit_tf.configs import common

R26, R50 = (2, 2, 2, 2), (3, 4, 6, 3)

VARIANTS = {
    "vit_base_mci_224": dict(
        backbone="conv_stem",
        backbone_layers=(),
        backbone_channels=(192, 192, 768),
        proj=False,
        num_classes=512,
        no_embed_class=True,
    ),
    "vit_base_r26_s32_224": dict(backbone_layers=R26),
    "vit_base_r50_s16_224": dict(num_classes=0),
    "vit_base_r50_s16_384": dict(img_size=384),
    "vit_base_resnet26d_224": dict(backbone="resnet", backbone_layers=R26),
    "vit_base_resnet50d_224": dict(backbone="resnet", backbone_layers=R50),
    "vit_large_r50_s32_224": dict(
        backbone_layers=R50, embed_dim=1024, depth=24, num_heads=16
    ),
    "vit_large_r50_s32_384": dict(
        img_size=384, backbone_layers=R50, embed_dim=1024, depth=24, num_heads=16
    ),
    "vit_small_r26_s32_224": dict(backbone_layers=R26, embed_dim=384, num_heads=6),
    "vit_small_r26_s32_384": dict(
        img_size=384, backbone_layers=R26, embed_dim=384, num_heads=6
    ),
    "vit_small_resnet26d_224": dict(
        backbone="resnet", backbone_layers=R26, depth=8, num_heads=8, mlp_ratio=3
    ),
    "vit_small_resnet50d_s16_224": dict(
        backbone="resnet", backbone_layers=(3, 4, 6), depth=8, num_heads=8, mlp_ratio=3
    ),
    "vit_tiny_r_s16_p8_224": dict(
        backbone_layers=(), patch_size=8, embed_dim=192, num_heads=3
    ),
    "vit_tiny_r_s16_p8_384": dict(
        img_size=384, backbone_layers=(), patch_size=8, embed_dim=192, num_heads=3
    ),
}


def get_config(variant: str) -> ConfigDict:
    """The configuration of a variant, "name" or "name.tag"."""
    return common.get_config(
        "vision_transformer_hybrid",
        VARIANTS,
        variant,
        model_class="VisionTransformerHybrid",
    )


def small(arguments: Mapping[str, Any]) -> dict[str, Any]:
    """What to change so that a variant, all options kept, is compared in a second."""
    layers = tuple(min(depth, 2) for depth in arguments["backbone_layers"])
    dim = 24
    channels = {
        "resnetv2": (128, 256, 128, 256)[: len(layers)],  # 32 groups of channels
        "resnet": (8, 16, 8, 16)[: len(layers)],
        "conv_stem": (6, 12, dim),
    }[arguments["backbone"]]
    pixels = 16 if arguments["backbone"] == "conv_stem" else 4
    for _ in layers[1:]:
        pixels *= 2
    pixels *= arguments["patch_size"]
    return dict(
        img_size=(2 * pixels, 3 * pixels),
        backbone_layers=layers,
        backbone_channels=channels,
        embed_dim=dim,
        depth=2,
        num_heads=3,
        num_classes=min(arguments["num_classes"], 7),
    )
