"""NVIDIA's names of RADIO's backbone."""

from collections.abc import Collection, Mapping
from typing import Any

import numpy as np

from vit_tf.checkpoints.dialects.dialect import Dialect, Tensors, Translation
from vit_tf.checkpoints.dialects.names import Rules, left_out, rewritten
from vit_tf.checkpoints.dialects.timm import as_convolution
from vit_tf.checkpoints.edits import Edit, EditedTensors

PATCHES = "radio_model.model.patch_generator.embedder.weight"
TOKENS = "radio_model.model.patch_generator.cls_token.token"
REASONS = {
    r"(?!radio_model\.model\.).*": "of the preprocessing, or of an adaptor to a "
    "teacher, not of the backbone"
}
RULES: Rules = (
    (r"^radio_model\.model\.", ""),
    (r"^patch_generator\.pos_embed$", "pos_embed"),
    (r"\.grandma$", ".gamma"),
)


def fits(names: Collection[str]) -> bool:
    return PATCHES in names


def translate(tensors: Tensors, config: Mapping[str, Any]) -> Translation:
    """RADIO's names into timm's.

    Of its class tokens, one a teacher, the first is the class token, the others and
    the registers are registers. `pos_embed` is the file's own, of its largest image.

    Raises:
        UnknownLayoutError: if the patch embedding is not one of square RGB patches.
    """
    kept, dropped = left_out(tensors, REASONS)
    edits = rewritten([n for n in kept if n not in (PATCHES, TOKENS)], RULES)
    if PATCHES in tensors:
        shape = tensors[PATCHES].shape
        edits["patch_embed.proj.weight"] = as_convolution(PATCHES, shape)
        edits["patch_embed.proj.bias"] = Edit(
            (PATCHES,), lambda weight: np.zeros(len(weight), weight.dtype)
        )
    if TOKENS in tensors:
        edits["cls_token"] = Edit((TOKENS,), lambda tokens: tokens[None, :1])
        edits["reg_token"] = Edit((TOKENS,), lambda tokens: tokens[None, 1:])
    return Translation(
        EditedTensors(tensors, edits),
        dropped,
        "vision_transformer",
        {"no_embed_class": True},
    )


RADIO = Dialect("radio", "NVIDIA's RADIO", fits, translate)
