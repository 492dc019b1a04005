"""facebookresearch's names: DINO, DINOv2, MAE and DeiT-III.

DeiT's, CaiT's and fine-tuned MAEs' names are timm's own. Google's TIPSv2 has DINOv2's
for its image encoder.
"""

import re
from collections.abc import Collection, Mapping
from typing import Any

import numpy as np

from vit_tf.checkpoints.dialects.dialect import Dialect, Tensors, Translation
from vit_tf.checkpoints.dialects.names import Rules, left_out, rewritten
from vit_tf.checkpoints.edits import Edit, EditedTensors

BACKBONE = r"(?:backbone\.|vision_encoder\.)?"  # beside DINO's heads, TIPSv2's text
LAYER_SCALE = rf"{BACKBONE}blocks\.\d+\.gamma_[12]"  # CaiT has it, too
MARKS = (  # of names that timm does not have
    rf"{BACKBONE}(mask_token|register_tokens)",
    rf"{BACKBONE}blocks\.\d+\.\d+\..*",
    rf"{BACKBONE}blocks\.\d+\.mlp\.w12\..*",
    r"decoder_.*",
    r"(head\.(mlp|last_layer)|dino_head|ibot_head)\..*",
    LAYER_SCALE,
)
PROJECTION = "of the projection head of self-supervised training, not of the backbone"
REASONS = {
    rf"{BACKBONE}mask_token": "stands for hidden patches, in training only",
    r"decoder_.*": "of the decoder that MAE's training has",
    r"head\.(mlp|last_layer)\..*|(dino|ibot)_head\..*": PROJECTION,
}
OF_TEXT = {r"(?!vision_encoder\.).*": "of the text encoder, or of its training"}
RULES: Rules = (
    (rf"^{BACKBONE}", ""),
    (r"^blocks\.\d+\.(\d+)\.", r"blocks.\1."),  # chunks that FSDP was given
    (r"\.gamma_([12])$", r".ls\1.gamma"),
    (r"\.mlp\.w12\.", ".mlp.fc1."),
    (r"\.mlp\.w3\.", ".mlp.fc2."),
    (r"^register_tokens$", "reg_token"),
)


def fits(names: Collection[str]) -> bool:
    if not any(re.fullmatch(rf"{BACKBONE}patch_embed\.proj\.weight", n) for n in names):
        return False
    if any(n.startswith(("blocks_token_only.", "layers.")) for n in names):
        return False  # CaiT, Swin
    return any(re.fullmatch(mark, name) for name in names for mark in MARKS)


def translate(tensors: Tensors, config: Mapping[str, Any]) -> Translation:
    """DINO's, DINOv2's, MAE's or DeiT-III's names into timm's.

    Where there are registers, timm adds no position to prefix tokens: the class token's
    is added to it here, as timm does.

    Raises:
        UnknownLayoutError: if two tensors get the same name.
    """
    two_encoders = any(name.startswith("vision_encoder.") for name in tensors)
    kept, dropped = left_out(tensors, REASONS | (OF_TEXT if two_encoders else {}))
    edits = rewritten(kept, RULES)
    family, arguments = "vision_transformer", {}
    if any(re.fullmatch(LAYER_SCALE, name) for name in kept):
        family, arguments = "deit", {"no_embed_class": True}
    if "reg_token" in edits:
        edits = with_class_position_folded(edits)
        arguments["no_embed_class"] = True
    if any(".mlp.w12." in name for name in kept):
        arguments |= {"mlp_layer": "SwiGLUPacked", "act_layer": "silu"}
    return Translation(EditedTensors(tensors, edits), dropped, family, arguments)


def with_class_position_folded(edits: Mapping[str, Edit]) -> dict[str, Edit]:
    """Edits by which the class token has its position added, and no row for it.

    Args:
        edits: timm name -> edit; `cls_token` and `pos_embed` of one source each.
    """
    if not {"cls_token", "pos_embed"} <= set(edits):
        return dict(edits)
    (token,), (positions,) = edits["cls_token"].sources, edits["pos_embed"].sources
    return {
        **edits,
        "cls_token": Edit((token, positions), _token_at_its_position),
        "pos_embed": Edit((positions,), _positions_of_patches),
    }


def _token_at_its_position(token: np.ndarray, positions: np.ndarray) -> np.ndarray:
    return token + positions[:, :1]  # (1, 1, D)


def _positions_of_patches(positions: np.ndarray) -> np.ndarray:
    return positions[:, 1:]  # (1, 1 + N, D) -> (1, N, D)


FACEBOOKRESEARCH = Dialect(
    "facebookresearch",
    "facebookresearch's DINO, DINOv2, MAE or DeiT-III",
    fits,
    translate,
)
