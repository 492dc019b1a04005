"""OpenCLIP's names around one of timm's image encoders."""

import re
from collections.abc import Collection, Mapping
from typing import Any

import numpy as np

from vit_tf.checkpoints.dialects.dialect import Dialect, Tensors, Translation
from vit_tf.checkpoints.dialects.names import left_out, rewritten
from vit_tf.checkpoints.edits import Edit, EditedTensors

TRUNK = r"visual\.trunk\."
HEAD = "visual.head.proj.weight"
REASONS = {r"(?!visual\.).*": "of the text encoder, or of its training"}
RULES = ((rf"^{TRUNK}", ""), (rf"^{re.escape(HEAD)}$", "head.weight"))


def fits(names: Collection[str]) -> bool:
    return any(name.startswith("visual.trunk.patch_embed.") for name in names)


def translate(tensors: Tensors, config: Mapping[str, Any]) -> Translation:
    """timm's names without what OpenCLIP puts before them.

    A projection behind the encoder is the head, which there has no bias.
    """
    kept, dropped = left_out(tensors, REASONS)
    edits = rewritten(kept, RULES)
    if HEAD in tensors:
        edits["head.bias"] = Edit((HEAD,), lambda x: np.zeros(len(x), np.float32))
    return Translation(EditedTensors(tensors, edits), dropped)


OPEN_CLIP = Dialect("open_clip", "OpenCLIP with timm's encoder", fits, translate)
