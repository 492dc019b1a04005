"""timm's DeiTs: what their constructors are given beyond the defaults."""

from ml_collections import ConfigDict
from vit_tf.configs import common
from vit_tf.configs.vision_transformer import small

__all__ = ["VARIANTS", "get_config", "small"]

VARIANTS = {
    "deit3_base_patch16_224": dict(init_values=1e-06, no_embed_class=True),
    "deit3_base_patch16_384": dict(
        img_size=384, init_values=1e-06, no_embed_class=True
    ),
    "deit3_huge_patch14_224": dict(
        patch_size=14,
        embed_dim=1280,
        depth=32,
        num_heads=16,
        init_values=1e-06,
        no_embed_class=True,
    ),
    "deit3_large_patch16_224": dict(
        embed_dim=1024, depth=24, num_heads=16, init_values=1e-06, no_embed_class=True
    ),
    "deit3_large_patch16_384": dict(
        img_size=384,
        embed_dim=1024,
        depth=24,
        num_heads=16,
        init_values=1e-06,
        no_embed_class=True,
    ),
    "deit3_medium_patch16_224": dict(
        embed_dim=512, num_heads=8, init_values=1e-06, no_embed_class=True
    ),
    "deit3_small_patch16_224": dict(
        embed_dim=384, num_heads=6, init_values=1e-06, no_embed_class=True
    ),
    "deit3_small_patch16_384": dict(
        img_size=384, embed_dim=384, num_heads=6, init_values=1e-06, no_embed_class=True
    ),
    "deit_base_distilled_patch16_224": dict(model_class="VisionTransformerDistilled"),
    "deit_base_distilled_patch16_384": dict(
        model_class="VisionTransformerDistilled", img_size=384
    ),
    "deit_base_patch16_224": dict(),
    "deit_base_patch16_384": dict(img_size=384),
    "deit_small_distilled_patch16_224": dict(
        model_class="VisionTransformerDistilled", embed_dim=384, num_heads=6
    ),
    "deit_small_patch16_224": dict(embed_dim=384, num_heads=6),
    "deit_tiny_distilled_patch16_224": dict(
        model_class="VisionTransformerDistilled", embed_dim=192, num_heads=3
    ),
    "deit_tiny_patch16_224": dict(embed_dim=192, num_heads=3),
}


def get_config(variant: str) -> ConfigDict:
    """The configuration of a variant, "name" or "name.tag"."""
    return common.get_config("deit", VARIANTS, variant)
