"""timm's Swins: what their constructors are given beyond the defaults."""

from collections.abc import Mapping
from typing import Any

from ml_collections import ConfigDict
from vit_tf.configs import common

BASE = dict(embed_dim=128, depths=(2, 2, 18, 2), num_heads=(4, 8, 16, 32))
LARGE = dict(embed_dim=192, depths=(2, 2, 18, 2), num_heads=(6, 12, 24, 48))

VARIANTS = {
    "swin_base_patch4_window7_224": BASE,
    "swin_base_patch4_window12_384": dict(img_size=384, window_size=12, **BASE),
    "swin_large_patch4_window7_224": LARGE,
    "swin_large_patch4_window12_384": dict(img_size=384, window_size=12, **LARGE),
    "swin_s3_base_224": dict(depths=(2, 2, 30, 2), window_size=(7, 7, 14, 7)),
    "swin_s3_small_224": dict(depths=(2, 2, 18, 2), window_size=(14, 14, 14, 7)),
    "swin_s3_tiny_224": dict(window_size=(7, 7, 14, 7)),
    "swin_small_patch4_window7_224": dict(depths=(2, 2, 18, 2)),
    "swin_tiny_patch4_window7_224": dict(),
}


def get_config(variant: str) -> ConfigDict:
    """The configuration of a variant, "name" or "name.tag"."""
    return common.get_config(
        "swin_transformer", VARIANTS, variant, model_class="SwinTransformer"
    )


def small(arguments: Mapping[str, Any]) -> dict[str, Any]:
    """What to change so that a variant is compared within a second.

    Windows are a few tokens wide, on feature maps of 12 x 8, 6 x 4, 3 x 2 and 2 x 1:
    shifted, padded, not shifted and shrunken.
    """
    windows = arguments["window_size"]
    if isinstance(windows, tuple):
        windows = tuple(window // 4 + 1 for window in windows)
    else:
        windows = windows // 4 + 2
    return dict(
        img_size=(12 * arguments["patch_size"], 8 * arguments["patch_size"]),
        embed_dim=8,
        depths=(2,) * len(arguments["depths"]),
        num_heads=(1, 2, 2, 4),
        window_size=windows,
        num_classes=min(arguments["num_classes"], 7),
        drop_path_rate=0.0,
    )
