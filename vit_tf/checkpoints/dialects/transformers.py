"""Hugging Face transformers' names, as its releases 4 and 5 write them."""

import re
from collections.abc import Collection, Mapping
from typing import Any

from vit_tf.checkpoints.dialects.dialect import Dialect, Tensors, Translation
from vit_tf.checkpoints.dialects.facebookresearch import with_class_position_folded
from vit_tf.checkpoints.dialects.microsoft import in_next_stage
from vit_tf.checkpoints.dialects.names import (
    Rules,
    joined,
    left_out,
    rewritten,
)
from vit_tf.checkpoints.dialects.swin_sizes import BUFFER, CHECKED, swin_sizes
from vit_tf.checkpoints.dialects.transformers_config import (
    arguments_of_config,
    check_config,
    label_names,
)
from vit_tf.checkpoints.edits import EditedTensors

PATCHES = "embeddings.patch_embeddings.projection.weight"
BIT = "embeddings.patch_embeddings.backbone."
MARKS = {  # the first of these in a name says the model's type
    ".continuous_position_bias_mlp.": "swinv2",
    "relative_position_bias_table": "swin",
    "embeddings.distillation_token": "deit",
    "embeddings.register_tokens": "dinov2_with_registers",
    ".layer_scale1.": "dinov2",
    BIT: "vit-hybrid",
}
FAMILIES = {
    "swinv2": "swin_transformer_v2",
    "swin": "swin_transformer",
    "vit-hybrid": "vision_transformer_hybrid",
}
PREFIX = r"^(?:vit|deit|swin|swinv2|dinov2|dinov2_with_registers)\."
REASONS = {
    r"(.*\.)?pooler\..*": "a tanh layer behind the class token that transformers' own "
    "classifiers do not use, and timm does not have",
    r"(.*\.)?embeddings\.mask_token": "stands for hidden patches, in training only",
    r"decoder\..*": "of the decoder of masked image modeling, not of the backbone",
}
DINOV2_HEAD = {
    r"classifier\..*": "reads the class token beside the mean of the patches, which no "
    "pooling of timm's gives: the model is the backbone, without classes",
}
LAYERS: Rules = (
    (PREFIX, ""),
    (r"^embeddings\.patch_embeddings\.projection\.", "patch_embed.proj."),
    (r"\.attention\.(?:(?:attention|self)\.)?(?:query|q_proj)\.", ".attn.q."),
    (r"\.attention\.(?:(?:attention|self)\.)?(?:key|k_proj)\.", ".attn.k."),
    (r"\.attention\.(?:(?:attention|self)\.)?(?:value|v_proj)\.", ".attn.v."),
    (r"\.attention\.(?:output\.dense|o_proj)\.", ".attn.proj."),
    (r"\.intermediate\.dense\.", ".mlp.fc1."),
    (r"\.output\.dense\.", ".mlp.fc2."),
    (r"\.layernorm_before\.", ".norm1."),
    (r"\.layernorm_after\.", ".norm2."),
    (r"^layernorm\.", "norm."),
)
VIT: Rules = (
    *LAYERS,
    (r"^embeddings\.cls_token$", "cls_token"),
    (r"^embeddings\.register_tokens$", "reg_token"),
    (r"^embeddings\.position_embeddings$", "pos_embed"),
    (r"^(?:encoder\.layer|layers)\.(\d+)\.", r"blocks.\1."),
    (r"\.layer_scale([12])\.lambda1$", r".ls\1.gamma"),
    (r"\.mlp\.weights_in\.", ".mlp.fc1."),
    (r"\.mlp\.(?:weights_out|down_proj)\.", ".mlp.fc2."),
    (r"^(?:cls_)?classifier\.", "head."),
    (r"^distillation_classifier\.", "head_dist."),
)
HYBRID: Rules = (
    *VIT,
    (rf"^{re.escape(BIT)}bit\.", "patch_embed.backbone."),
    (r"^(patch_embed\.backbone)\.embedder\.convolution\.", r"\1.stem.conv."),
    (r"^(patch_embed\.backbone)\.embedder\.norm\.", r"\1.stem.norm."),
    (
        r"^(patch_embed\.backbone)\.encoder\.stages\.(\d+)\.layers\.",
        r"\1.stages.\2.blocks.",
    ),
)
SWIN: Rules = (
    *LAYERS,
    (r"^embeddings\.norm\.", "patch_embed.norm."),
    (r"^encoder\.layers\.(\d+)\.downsample\.", in_next_stage),
    (r"^encoder\.layers\.", "layers."),
    (r"\.attention\.(?:self|relative_position_bias)\.relative_", ".attn.relative_"),
    (r"^classifier\.", "head.fc."),
)
SWINV2: Rules = (
    *SWIN,
    (r"\.attn\.([qv])\.bias$", r".attn.\1_bias"),
    (r"\.attention\.self\.logit_scale$", ".attn.logit_scale"),
    (r"\.attention\.self\.continuous_position_bias_mlp\.", ".attn.cpb_mlp."),
)
RULES = {"vit-hybrid": HYBRID, "swin": SWIN, "swinv2": SWINV2}


def fits(names: Collection[str]) -> bool:
    return any(re.sub(PREFIX, "", name) == PATCHES for name in names)


def translate(tensors: Tensors, config: Mapping[str, Any]) -> Translation:
    """transformers' names into timm's.

    Query, key and value become one, as do the two halves of a SwiGLU's first layer. A
    DeiT's distillation token that no classifier reads is a register token. DINOv2's
    classifier is left out: timm has none that reads what it does.

    Raises:
        CheckpointError: if `config.json` is another model's, or has a value that
            timm's model cannot have; if a buffer is not what the model computes.
    """
    config = {name: value for name, value in config.items() if value is not None}
    kind = model_type(tensors)
    check_config(config, kind)
    dinov2 = kind.startswith("dinov2")
    buffers = _buffers(tensors) if kind.startswith("swin") else {}
    names = [name for name in tensors if name not in buffers.values()]
    kept, dropped = left_out(names, REASONS | (DINOV2_HEAD if dinov2 else {}))
    dropped |= dict.fromkeys(buffers.values(), CHECKED)

    distilled = any(name.startswith("distillation_classifier.") for name in kept)
    edits = rewritten(kept, (*RULES.get(kind, VIT), _distillation_token(distilled)))
    edits = joined(edits, ("attn.q", "attn.k", "attn.v"), "attn.qkv")
    edits = joined(edits, ("mlp.gate_proj", "mlp.up_proj"), "mlp.fc1")
    if kind == "dinov2_with_registers":
        edits = with_class_position_folded(edits)
    edited = EditedTensors(tensors, edits)

    arguments = arguments_of_config(config, kind) | _arguments_of_names(tensors, kind)
    if buffers and "patch_embed.proj.weight" in edited:
        patches = edited["patch_embed.proj.weight"]
        arguments |= swin_sizes(tensors, buffers, patches, arguments)
    head = "head.fc.weight" if kind.startswith("swin") else "head.weight"
    classes = sum(edited[head].shape[:1]) if head in edited else 0
    labels = label_names(config, classes)
    return Translation(
        edited,
        dropped,
        "deit" if distilled else FAMILIES.get(kind, "vision_transformer"),
        arguments,
        {"label_names": labels} if labels else {},
    )


def model_type(names: Collection[str]) -> str:
    """transformers' type of the model that has such names."""
    for mark, kind in MARKS.items():
        if any(mark in name for name in names):
            return kind
    return "vit"


def _buffers(names: Collection[str]) -> dict[str, str]:
    """Microsoft's name of a buffer -> the file's."""
    rules = (
        (PREFIX, ""),
        (r"^encoder\.", ""),
        (r"\.attention\.(?:self|relative_position_bias)\.", ".attn."),
    )
    named = {new: edit.sources[0] for new, edit in rewritten(names, rules).items()}
    return {new: old for new, old in named.items() if re.fullmatch(BUFFER, new)}


def _distillation_token(distilled: bool) -> tuple[str, str]:
    token = "dist_token" if distilled else "reg_token"
    return r"^embeddings\.distillation_token$", token


def _arguments_of_names(tensors: Tensors, kind: str) -> dict[str, Any]:
    arguments: dict[str, Any] = {}
    if kind.startswith("dinov2"):
        arguments["num_classes"] = 0
    if kind == "dinov2_with_registers":
        arguments["no_embed_class"] = True
    if any(re.search(r"\.mlp\.(weights_in|gate_proj)\.", name) for name in tensors):
        arguments |= {"mlp_layer": "SwiGLUPacked", "act_layer": "silu"}
    if kind == "vit-hybrid":
        blocks = [re.search(r"\.stages\.(\d+)\.layers\.(\d+)\.", n) for n in tensors]
        depths: dict[int, int] = {}
        for stage, block in sorted((int(b[1]), int(b[2])) for b in blocks if b):
            depths[stage] = block + 1
        arguments |= {"backbone": "resnetv2", "backbone_layers": (*depths.values(),)}
    return arguments


TRANSFORMERS = Dialect("transformers", "Hugging Face transformers", fits, translate)
