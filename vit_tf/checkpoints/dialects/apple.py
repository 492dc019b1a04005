"""Apple's names: AIMv2, and MobileCLIP's hybrid."""

from collections.abc import Collection, Mapping
from typing import Any

from vit_tf.checkpoints.dialects.clip import projection_as_head
from vit_tf.checkpoints.dialects.dialect import Dialect, Tensors, Translation
from vit_tf.checkpoints.dialects.names import Rules, left_out, rewritten
from vit_tf.checkpoints.edits import Edit, EditedTensors

AIM_MARK = "preprocessor.patchifier.proj.weight"
MCI_MARK = "image_encoder.model.patch_emb.0.block.conv.weight"
AIM: Rules = (
    (r"^preprocessor\.patchifier\.", "patch_embed."),
    (r"^preprocessor\.pos_embed$", "pos_embed"),
    (r"^trunk\.", ""),
    (r"^post_trunk_norm\.", "norm."),
    (r"\.norm_([12])\.", r".norm\1."),
    (r"\.mlp\.fc1\.", ".mlp.fc1_g."),
    (r"\.mlp\.fc3\.", ".mlp.fc1_x."),
)
MCI: Rules = (
    (r"^image_encoder\.model\.", ""),
    (r"^patch_emb\.", "patch_embed.backbone."),
    (r"\.block\.conv\.", ".conv."),
    (r"\.block\.norm\.", ".bn."),
    (r"^post_transformer_norm\.", "norm."),
    (r"^transformer\.", "blocks."),
    (r"\.pre_norm_mha\.0\.", ".norm1."),
    (r"\.pre_norm_mha\.1\.qkv_proj\.", ".attn.qkv."),
    (r"\.pre_norm_mha\.1\.out_proj\.", ".attn.proj."),
    (r"\.pre_norm_ffn\.0\.", ".norm2."),
    (r"\.pre_norm_ffn\.1\.", ".mlp.fc1."),
    (r"\.pre_norm_ffn\.4\.", ".mlp.fc2."),
    (r"^pos_embed\.pos_embed\.pos_embed$", "pos_embed"),
    (r"^classifier\.proj$", "head.weight"),
)
MCI_REASONS = {
    r"(?!image_encoder\.model\.).*": "of the text encoder, or of its training"
}


def fits(names: Collection[str]) -> bool:
    return AIM_MARK in names or MCI_MARK in names


def translate(tensors: Tensors, config: Mapping[str, Any]) -> Translation:
    """Apple's names into timm's; MobileCLIP's projection is a head without bias."""
    if AIM_MARK in tensors:
        edited = EditedTensors(tensors, rewritten(tensors, AIM))
        return Translation(edited, family="vision_transformer")
    kept, dropped = left_out(tensors, MCI_REASONS)
    edits = rewritten(kept, MCI)
    if "pos_embed" in edits:
        edits["pos_embed"] = Edit(edits["pos_embed"].sources, lambda x: x.squeeze(0))
    if "head.weight" in edits:
        edits |= projection_as_head(edits["head.weight"].sources[0])
    tensors = EditedTensors(tensors, edits)
    return Translation(tensors, dropped, "vision_transformer_hybrid")


APPLE = Dialect("apple", "Apple's AIMv2 or MobileCLIP", fits, translate)
