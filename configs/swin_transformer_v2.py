"""timm's Swin V2s: what their constructors are given beyond the defaults."""

from collections.abc import Mapping
from typing import Any

from ml_collections import ConfigDict
from vit_tf.configs import common, swin_transformer

SMALL = dict(depths=(2, 2, 18, 2))
BASE, LARGE = swin_transformer.BASE, swin_transformer.LARGE
WINDOW_12 = dict(img_size=192, window_size=12, num_classes=21841)
WINDOW_12_TO_16 = dict(
    img_size=256, window_size=16, pretrained_window_sizes=(12, 12, 12, 6)
)
WINDOW_12_TO_24 = dict(
    img_size=384, window_size=24, pretrained_window_sizes=(12, 12, 12, 6)
)

VARIANTS = {
    "swinv2_base_window8_256": dict(img_size=256, window_size=8, **BASE),
    "swinv2_base_window12_192": dict(**WINDOW_12, **BASE),
    "swinv2_base_window12to16_192to256": dict(**WINDOW_12_TO_16, **BASE),
    "swinv2_base_window12to24_192to384": dict(**WINDOW_12_TO_24, **BASE),
    "swinv2_base_window16_256": dict(img_size=256, window_size=16, **BASE),
    "swinv2_large_window12_192": dict(**WINDOW_12, **LARGE),
    "swinv2_large_window12to16_192to256": dict(**WINDOW_12_TO_16, **LARGE),
    "swinv2_large_window12to24_192to384": dict(**WINDOW_12_TO_24, **LARGE),
    "swinv2_small_window8_256": dict(img_size=256, window_size=8, **SMALL),
    "swinv2_small_window16_256": dict(img_size=256, window_size=16, **SMALL),
    "swinv2_tiny_window8_256": dict(img_size=256, window_size=8),
    "swinv2_tiny_window16_256": dict(img_size=256, window_size=16),
}


def get_config(variant: str) -> ConfigDict:
    """The configuration of a variant, "name" or "name.tag"."""
    return common.get_config(
        "swin_transformer_v2", VARIANTS, variant, model_class="SwinTransformerV2"
    )


def small(arguments: Mapping[str, Any]) -> dict[str, Any]:
    """What to change so that a variant is compared within a second, as for Swin."""
    return swin_transformer.small(arguments)
