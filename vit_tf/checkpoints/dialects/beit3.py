"""BEiT-3's names: the experts for images of a model for images and text."""

from collections.abc import Collection, Mapping
from typing import Any

from vit_tf.checkpoints.dialects.dialect import Dialect, Tensors, Translation
from vit_tf.checkpoints.dialects.names import Rules, joined, left_out, rewritten
from vit_tf.checkpoints.edits import Edit, EditedTensors

MARK = "beit3.vision_embed.proj.weight"
REASONS = {
    r".*\.B\..*": "of the experts for text",
    r"beit3\.text_embed\..*": "of the experts for text",
    r"beit3\.vision_embed\.mask_token": "stands for hidden patches, in training only",
}
RULES: Rules = (
    (r"^beit3\.vision_embed\.cls_token$", "cls_token"),
    (r"^beit3\.vision_embed\.", "patch_embed."),
    (r"^beit3\.encoder\.embed_positions\.A\.weight$", "pos_embed"),
    (r"^beit3\.encoder\.layers\.", "blocks."),
    (r"^beit3\.encoder\.", ""),
    (r"\.A\.", "."),
    (r"\.self_attn_layer_norm\.", ".norm1."),
    (r"\.final_layer_norm\.", ".norm2."),
    (r"\.self_attn\.inner_attn_ln\.", ".attn.norm."),
    (r"\.self_attn\.out_proj\.", ".attn.proj."),
    (r"\.self_attn\.", ".attn."),
    (r"\.ffn\.ffn_layernorm\.", ".mlp.norm."),
    (r"\.ffn\.", ".mlp."),
)


def fits(names: Collection[str]) -> bool:
    return MARK in names


def translate(tensors: Tensors, config: Mapping[str, Any]) -> Translation:
    """BEiT-3's names into timm's. Its first two positions are of no token."""
    kept, dropped = left_out(tensors, REASONS)
    edits = rewritten(kept, RULES)
    parts = ("attn.q_proj", "attn.k_proj", "attn.v_proj")
    edits = joined(edits, parts, "attn.qkv")
    if "pos_embed" in edits:
        edits["pos_embed"] = Edit(edits["pos_embed"].sources, lambda x: x[None, 2:])
    tensors = EditedTensors(tensors, edits)
    return Translation(tensors, dropped, "vision_transformer")


BEIT3 = Dialect("beit3", "Microsoft's BEiT-3", fits, translate)
