"""Microsoft's names of Swin V1 and V2, which timm had before 0.9."""

import re
from collections.abc import Collection, Mapping
from typing import Any

from vit_tf.checkpoints.dialects.dialect import Dialect, Tensors, Translation
from vit_tf.checkpoints.dialects.names import left_out, rewritten
from vit_tf.checkpoints.dialects.swin_sizes import BUFFER, CHECKED, swin_sizes
from vit_tf.checkpoints.edits import EditedTensors

PATCHES = "patch_embed.proj.weight"
MARK = rf"{BUFFER}|layers\.0\.downsample\..*"  # timm's first stage has no downsample


def fits(names: Collection[str]) -> bool:
    return PATCHES in names and any(re.fullmatch(MARK, name) for name in names)


def translate(tensors: Tensors, config: Mapping[str, Any]) -> Translation:
    """Microsoft's names into timm's.

    A stage's `downsample` is at its end, and in timm at the beginning of the next. The
    buffers are left out once they are known to be what the model computes; the sizes
    that they are for are arguments of the model.

    Raises:
        CheckpointError: if a buffer is not what the model computes.
    """
    kept, dropped = left_out(tensors, {BUFFER: CHECKED})
    rules = [(r"^head\.(weight|bias)$", r"head.fc.\1")]
    if any(name.startswith("layers.0.downsample.") for name in kept):
        rules.append((r"^layers\.(\d+)\.downsample\.", in_next_stage))
    v2 = any(name.endswith(".attn.logit_scale") for name in kept)
    arguments = {}
    if dropped and PATCHES in tensors:
        buffers = {name: name for name in dropped}
        arguments = swin_sizes(tensors, buffers, tensors[PATCHES])
    return Translation(
        EditedTensors(tensors, rewritten(kept, rules)),
        dropped,
        "swin_transformer_v2" if v2 else "swin_transformer",
        arguments,
    )


def in_next_stage(match: re.Match) -> str:
    """A stage's `downsample`, as the one of the next."""
    return f"layers.{int(match[1]) + 1}.downsample."


MICROSOFT = Dialect(
    "microsoft", "Microsoft's Swin, or timm's before 0.9", fits, translate
)
