"""Hybrid Vision Transformers (https://arxiv.org/abs/2010.11929), after timm's module.

Their tokens are the features of a convolutional network, not patches of pixels.
"""

from functools import partial

import keras

from vit_tf.layers.activations import gelu
from vit_tf.layers.conv_norm_act import ConvNormAct
from vit_tf.layers.hybrid_embed import HybridEmbed
from vit_tf.layers.norm_act import GroupNormAct
from vit_tf.layers.sequential import Sequential
from vit_tf.layers.std_conv import FlaxStdConv
from vit_tf.models.resnet import ResNet
from vit_tf.models.resnetv2 import ResNetV2, create_resnetv2_stem
from vit_tf.models.vision_transformer import VisionTransformer

RESNETV2 = {  # the layers of a `ResNetV2`: timm's, and those of the original function
    "resnetv2": {},
    "resnetv2_flax": {
        "conv_layer": partial(FlaxStdConv, eps=1e-5),
        "norm_layer": partial(GroupNormAct, eps=1e-6),
    },
}
BACKBONES = (*RESNETV2, "resnet", "conv_stem")


@keras.saving.register_keras_serializable(package="vit_tf")
class VisionTransformerHybrid(VisionTransformer):
    """timm's `VisionTransformer` with a `HybridEmbed` as its `embed_layer`.

    timm is given the network as an object; here it is described by plain values, so
    that it is a part of the configuration.

    Args:
        backbone: "resnetv2", a `ResNetV2`, or with `backbone_layers=()` its stem
            alone; "resnetv2_flax", the same with what the original in Flax adds to
            variances and deviations; "resnet", a `ResNet` of the D kind; "conv_stem",
            a `ConvStem` (https://arxiv.org/abs/2311.17049).
        backbone_layers: Number of blocks of each of the network's stages.
        backbone_channels: Number of channels (for "resnet", of planes) of each stage,
            or of each convolution of "conv_stem". None: timm's.
        proj: Whether a projection turns features into tokens.
        patch_size: Height and width of a patch, or one number for both, in features.
        **kwargs: those of `VisionTransformer`.

    Raises:
        ValueError: if the backbone is unknown or has more stages than channels; if
            there is an `embed_norm_layer`, which `HybridEmbed` does not take; and as
            `VisionTransformer` and `HybridEmbed` do.
    """

    def __init__(
        self,
        backbone: str = "resnetv2",
        backbone_layers: tuple[int, ...] = (3, 4, 9),
        backbone_channels: tuple[int, ...] | None = None,
        proj: bool = True,
        patch_size: int | tuple[int, int] = 1,
        **kwargs,
    ):
        super().__init__(patch_size=patch_size, **kwargs)
        channels = backbone_channels and tuple(backbone_channels)
        _check_backbone(backbone, tuple(backbone_layers), channels)
        if self.embed_norm_layer:
            raise ValueError(
                f"embed_norm_layer={self.embed_norm_layer!r}: a hybrid takes none"
            )
        self.backbone = backbone
        self.backbone_layers = tuple(backbone_layers)
        self.backbone_channels = channels
        self.proj = proj

    def get_config(self) -> dict:
        """The constructor's arguments, as plain values."""
        return {
            **super().get_config(),
            "backbone": self.backbone,
            "backbone_layers": self.backbone_layers,
            "backbone_channels": self.backbone_channels,
            "proj": self.proj,
        }

    @property
    def repeated_blocks(self) -> list[list[keras.layers.Layer]]:
        """Groups of blocks that compute the same function of input and weights."""
        network = self.patch_embed.backbone
        groups = super().repeated_blocks
        if isinstance(network, (ResNet, ResNetV2)):
            groups = network.repeated_blocks + groups
        return groups

    def _patch_embed_layer(self) -> keras.layers.Layer:
        return HybridEmbed(
            self._backbone("backbone"),
            img_size=self.img_size,
            patch_size=self.patch_size,
            embed_dim=self.embed_dim,
            bias=not self.pre_norm,  # the norm before the blocks has one
            proj=self.proj,
            dtype=self.dtype_policy,
            name="patch_embed",
            **self._embed_args(),
        )

    def _backbone(self, name: str) -> keras.layers.Layer:
        placed = dict(dtype=self.dtype_policy, name=name)
        channels = {}
        if self.backbone_channels is not None:
            channels = dict(channels=self.backbone_channels)
        if self.backbone == "conv_stem":
            return ConvStem(**channels, **placed)
        if self.backbone == "resnet":
            return ResNet(self.backbone_layers, **channels, **placed)
        layers = RESNETV2[self.backbone]
        if not self.backbone_layers:
            return create_resnetv2_stem(alone=True, **layers, **placed)
        return ResNetV2(self.backbone_layers, **channels, **layers, **placed)


def feature_size(
    img_size: tuple[int, int], backbone: str, backbone_layers: tuple[int, ...]
) -> tuple[int, int]:
    """Height and width of a backbone's features, without building it.

    Args:
        img_size: Height and width of the images, in pixels.
        backbone: As in `VisionTransformerHybrid`.
        backbone_layers: The same.
    """
    if backbone == "conv_stem":
        height, width = img_size
        return height // 16, width // 16
    size = img_size
    for _ in range(2 + len(backbone_layers[1:])):  # the stem halves twice, rounding up
        size = tuple((pixels + 1) // 2 for pixels in size)
    return size


def _check_backbone(
    kind: str, layers: tuple[int, ...], channels: tuple[int, ...] | None
) -> None:
    if kind not in BACKBONES:
        raise ValueError(f"backbone={kind!r}: expected one of {BACKBONES}")
    widths = 4 if channels is None else len(channels)
    expected = {
        "conv_stem": (
            not layers and (channels is None or widths == 3),
            "backbone_layers=(), and three backbone_channels or None",
        ),
        "resnet": (
            0 < len(layers) <= min(4, widths),
            "one to four stages, with backbone_channels for each or None",
        ),
    }
    resnetv2 = (
        len(layers) <= widths if layers else not channels,
        "backbone_channels for each stage; or for its stem alone, "
        "backbone_layers=() and backbone_channels=None",
    )
    fits, what = expected.get(kind, resnetv2)
    if not fits or any(number < 1 for number in (*layers, *(channels or ()))):
        raise ValueError(
            f"backbone={kind!r}, backbone_layers={layers}, backbone_channels="
            f"{channels}: expected {what}; each number 1 or more"
        )


class ConvStem(Sequential):
    """Convolutions that do not overlap; timm's class, as MobileCLIP has it.

    Args:
        channels: Number of output channels of each.
        stride: Height and width of each one's kernel, and its step.
    """

    def __init__(
        self,
        channels: tuple[int, ...] = (192, 192, 768),
        stride: tuple[int, ...] = (4, 2, 2),
        *,
        dtype,
        **kwargs,
    ):
        last = len(channels) - 1
        modules = [
            ConvNormAct(
                width,
                kernel_size=step,
                stride=step,
                bias=i == last,
                apply_norm=i != last,
                act_layer=gelu,
                dtype=dtype,
                name=str(i),
            )
            for i, (width, step) in enumerate(zip(channels, stride, strict=True))
        ]
        super().__init__(modules, dtype=dtype, **kwargs)
