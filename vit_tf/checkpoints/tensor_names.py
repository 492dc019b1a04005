"""Where timm keeps what differs from checkpoint to checkpoint of one architecture."""

from collections.abc import Collection, Mapping
from typing import Any

PATCHES = "patch_embed.proj.weight"
POSITIONS = "pos_embed"
BIAS_TABLE = ".relative_position_bias_table"  # how the names of Swin's end
FIRST_CONVS = (
    "patch_embed.backbone.stem.conv.weight",  # a hybrid's ResNetV2
    "patch_embed.backbone.conv.weight",  # its stem alone
    "patch_embed.backbone.conv1.0.weight",  # ResNet
    "patch_embed.backbone.0.conv.weight",  # ConvStem
    PATCHES,
)


def first_conv(names: Collection[str]) -> str:
    """The weight that sees the image's channels."""
    return next((name for name in FIRST_CONVS if name in names), PATCHES)


def classifiers(model_class: str) -> tuple[str, ...]:
    """The layers whose outputs are classes; timm's `classifier` of a pretrained tag."""
    if model_class.startswith("SwinTransformer"):
        return ("head.fc",)
    if model_class == "VisionTransformerDistilled":
        return "head", "head_dist"
    return ("head",)


def num_embedded_prefix(arguments: Mapping[str, Any], model_class: str) -> int:
    """How many rows of the position embedding are of no patch.

    Args:
        arguments: The model's constructor arguments.
        model_class: Its class.
    """
    if model_class == "VisionTransformerDistilled":
        return 2
    if model_class == "Cait" or arguments["no_embed_class"]:
        return 0
    return int(arguments["class_token"]) + arguments["reg_tokens"]
