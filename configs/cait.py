"""timm's CaiTs: what their constructors are given beyond the defaults."""

from collections.abc import Mapping
from typing import Any

from ml_collections import ConfigDict
from vit_tf.configs import common

VARIANTS = {
    "cait_m36_384": dict(img_size=384, depth=36, num_heads=16, init_values=1e-06),
    "cait_m48_448": dict(img_size=448, depth=48, num_heads=16, init_values=1e-06),
    "cait_s24_224": dict(embed_dim=384, depth=24, num_heads=8, init_values=1e-05),
    "cait_s24_384": dict(
        img_size=384, embed_dim=384, depth=24, num_heads=8, init_values=1e-05
    ),
    "cait_s36_384": dict(
        img_size=384, embed_dim=384, depth=36, num_heads=8, init_values=1e-06
    ),
    "cait_xs24_384": dict(
        img_size=384, embed_dim=288, depth=24, num_heads=6, init_values=1e-05
    ),
    "cait_xxs24_224": dict(embed_dim=192, depth=24, num_heads=4, init_values=1e-05),
    "cait_xxs24_384": dict(
        img_size=384, embed_dim=192, depth=24, num_heads=4, init_values=1e-05
    ),
    "cait_xxs36_224": dict(embed_dim=192, depth=36, num_heads=4, init_values=1e-05),
    "cait_xxs36_384": dict(
        img_size=384, embed_dim=192, depth=36, num_heads=4, init_values=1e-05
    ),
}


def get_config(variant: str) -> ConfigDict:
    """The configuration of a variant, "name" or "name.tag"."""
    return common.get_config("cait", VARIANTS, variant, model_class="Cait")


def small(arguments: Mapping[str, Any]) -> dict[str, Any]:
    """What to change so that a variant is built and compared within a second."""
    patch = arguments["patch_size"]
    return dict(
        img_size=(2 * patch, 3 * patch),
        embed_dim=24,
        depth=2,
        num_heads=3,
        num_classes=min(arguments["num_classes"], 7),
    )
