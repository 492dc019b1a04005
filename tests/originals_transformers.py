"""transformers' own classes, small."""

from typing import Any

from vit_tf.reference import torch  # isort: skip  (torchvision's operators first)

import transformers

VIT = dict(
    image_size=32, patch_size=16, hidden_size=24, num_hidden_layers=2,
    num_attention_heads=3, num_labels=5, attn_implementation="sdpa",
)  # fmt: skip
SWIN = dict(
    image_size=32, patch_size=2, embed_dim=12, depths=(2, 2), num_heads=(2, 4),
    window_size=4, num_labels=5, attn_implementation="sdpa",
)  # fmt: skip
SWINV2 = {**SWIN, "attn_implementation": "eager"}  # it has no other


def vit(head: bool = True, **options: Any) -> torch.nn.Module:
    config = transformers.ViTConfig(**{**VIT, "intermediate_size": 40, **options})
    if head:
        return transformers.ViTForImageClassification(config)
    return transformers.ViTModel(config)


def deit(teacher: bool = True) -> torch.nn.Module:
    config = transformers.DeiTConfig(**VIT, intermediate_size=40)
    if teacher:
        return transformers.DeiTForImageClassificationWithTeacher(config)
    return transformers.DeiTForImageClassification(config)


def swin(**options: Any) -> torch.nn.Module:
    config = transformers.SwinConfig(**{**SWIN, **options})
    return transformers.SwinForImageClassification(config)


def swinv2(**options: Any) -> torch.nn.Module:
    config = transformers.Swinv2Config(**{**SWINV2, **options})
    return transformers.Swinv2ForImageClassification(config)


def dinov2(**options: Any) -> torch.nn.Module:
    return transformers.Dinov2Model(transformers.Dinov2Config(**VIT, **options))


def dinov2_classifier() -> torch.nn.Module:
    config = transformers.Dinov2Config(**VIT)
    return transformers.Dinov2ForImageClassification(config)


def dinov2_with_registers(**options: Any) -> torch.nn.Module:
    config = transformers.Dinov2WithRegistersConfig(**VIT, **options)
    return transformers.Dinov2WithRegistersModel(config)


class HybridPatches(torch.nn.Module):
    """Tokens of what BiT makes of an image, as in transformers 4."""

    def __init__(self, depths: tuple[int, ...], widths: tuple[int, ...], dim: int):
        super().__init__()
        config = transformers.BitConfig(
            layer_type="bottleneck",
            global_padding="same",
            embedding_dynamic_padding=True,
            depths=depths,
            hidden_sizes=widths,
        )
        self.backbone = transformers.BitBackbone(config)
        self.projection = torch.nn.Conv2d(widths[-1], dim, 1)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        features = self.backbone(images).feature_maps[-1]
        return self.projection(features).flatten(2).transpose(1, 2)


def hybrid() -> torch.nn.Module:
    """transformers 4's ViT-hybrid, of transformers 5's BiT and ViT.

    The tokens of 32 x 32 pixels behind two stages are 4 x 4.
    """
    model = vit(image_size=32, patch_size=8)
    patches = HybridPatches((1, 1), (128, 256), VIT["hidden_size"])
    model.vit.embeddings.patch_embeddings = patches
    return model


def names_of_release_4(model: torch.nn.Module) -> dict[str, Any]:
    """The state dict as `save_pretrained` writes it: under the hub's names."""
    from transformers.core_model_loading import revert_weight_conversion

    state = model.state_dict()
    bit = {name: value for name, value in state.items() if ".bit." in name}
    vit = {name: value for name, value in state.items() if name not in bit}
    return {**revert_weight_conversion(model, vit), **bit}  # BiT's are the same in 4
