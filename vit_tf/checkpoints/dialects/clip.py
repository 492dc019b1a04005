"""OpenAI's names of CLIP's image encoder, which OpenCLIP's own encoders share."""

from collections.abc import Collection, Mapping
from typing import Any

import numpy as np

from vit_tf.checkpoints.dialects.dialect import Dialect, Tensors, Translation
from vit_tf.checkpoints.dialects.names import Rules, left_out, rewritten
from vit_tf.checkpoints.edits import Edit, EditedTensors

MARK = "visual.class_embedding"
REASONS = {r"(?!visual\.).*": "of CLIP's text encoder, or of its training"}
OPENAI = {"input_resolution", "context_length", "vocab_size"}  # not in OpenCLIP's files
RULES: Rules = (
    (r"^visual\.", ""),
    (r"^conv1\.", "patch_embed.proj."),
    (r"^class_embedding$", "cls_token"),
    (r"^positional_embedding$", "pos_embed"),
    (r"^transformer\.resblocks\.", "blocks."),
    (r"^ln_pre\.", "norm_pre."),
    (r"^ln_post\.", "norm."),
    (r"\.ln_([12])\.", r".norm\1."),
    (r"\.attn\.in_proj_(weight|bias)$", r".attn.qkv.\1"),
    (r"\.attn\.out_proj\.", ".attn.proj."),
    (r"\.mlp\.c_fc\.", ".mlp.fc1."),
    (r"\.mlp\.c_proj\.", ".mlp.fc2."),
    (r"^proj$", "head.weight"),
)


def fits(names: Collection[str]) -> bool:
    return MARK in names


def translate(tensors: Tensors, config: Mapping[str, Any]) -> Translation:
    """CLIP's names into timm's; its projection is the head, which there has no bias.

    OpenAI's own models have the quick GELU, which only what else is in their files
    tells; OpenCLIP's have either.
    """
    kept, dropped = left_out(tensors, REASONS)
    edits = rewritten(kept, RULES)
    if "cls_token" in edits:
        edits["cls_token"] = Edit(edits["cls_token"].sources, lambda x: x[None, None])
    if "pos_embed" in edits:
        edits["pos_embed"] = Edit(edits["pos_embed"].sources, lambda x: x[None])
    if "head.weight" in edits:
        edits |= projection_as_head(edits["head.weight"].sources[0])
    arguments = {"pre_norm": True, "norm_layer": "LayerNorm(eps=1e-05)"}
    if set(tensors) >= OPENAI:
        arguments["act_layer"] = "quick_gelu"
    tensors = EditedTensors(tensors, edits)
    return Translation(tensors, dropped, "vision_transformer", arguments)


def projection_as_head(source: str) -> dict[str, Edit]:
    """Edits that make a head of a matrix (D, classes); the bias is zero, as timm's."""
    return {
        "head.weight": Edit((source,), np.transpose),
        "head.bias": Edit((source,), lambda x: np.zeros(x.shape[1], np.float32)),
    }


CLIP = Dialect("clip", "OpenAI's CLIP", fits, translate)
