"""timm's own names, as they are and as they were.

What timm called Swin's layers before 0.9 is Microsoft's naming.
"""

import math
from collections.abc import Collection, Mapping
from typing import Any

from vit_tf.checkpoints.dialects import facebookresearch, microsoft
from vit_tf.checkpoints.dialects.dialect import Dialect, Tensors, Translation
from vit_tf.checkpoints.dialects.names import left_out
from vit_tf.checkpoints.edits import Edit, EditedTensors, renamed
from vit_tf.checkpoints.errors import UnknownLayoutError

STARTS = ("patch_embed.", "norm.", "blocks.0.norm1.", "layers.0.blocks.0.norm1.")
PATCHES = "patch_embed.proj.weight"
REPRESENTATION = (
    "a tanh layer before the head, which timm no longer has; what it reads is what "
    "the model gives"
)
READS_REPRESENTATION = (
    "reads what the tanh layer `pre_logits` computes, which timm no longer has: on "
    "anything else its logits would mean nothing"
)


def fits(names: Collection[str]) -> bool:
    own = any(name.startswith(STARTS) for name in names)
    return own and not (facebookresearch.fits(names) or microsoft.fits(names))


def translate(tensors: Tensors, config: Mapping[str, Any]) -> Translation:
    """timm's names, and what it renamed.

    `pre_logits.fc`, the tanh layer of the first in21k weights, is left out, as timm
    does; and so is the head behind it, which timm keeps: it was all zeros there, and
    where it was trained since, it makes no sense of what it never saw.

    Raises:
        UnknownLayoutError: if the patch embedding is a matrix that is not one of
            square patches of RGB.
    """
    reasons = {}
    if any(name.startswith("pre_logits.") for name in tensors):
        reasons = {
            r"pre_logits\..*": REPRESENTATION,
            r"head\.(weight|bias)": READS_REPRESENTATION,
        }
    kept, dropped = left_out(tensors, reasons)
    edits = renamed({name: name for name in kept})
    if PATCHES in edits and tensors[PATCHES].ndim == 2:
        edits[PATCHES] = as_convolution(PATCHES, tensors[PATCHES].shape)
    arguments = {"num_classes": 0} if dropped else {}
    tensors = EditedTensors(tensors, edits)
    return Translation(tensors, dropped, _family(kept), arguments)


def as_convolution(name: str, shape: tuple[int, ...]) -> Edit:
    """What makes a convolution of a matrix (D, 3 * p * p), flattened by channels.

    Args:
        name: The file's, of the matrix.
        shape: Its shape.

    Raises:
        UnknownLayoutError: if it is not one of square RGB patches.
    """
    side = math.isqrt(math.prod(shape[1:]) // 3)
    if tuple(shape[1:]) != (3 * side * side,) or not side:
        raise UnknownLayoutError(
            f"{name}: a matrix {tuple(shape)} found; expected: (D, 3 * p * p), "
            "square patches of three channels"
        )
    return Edit((name,), lambda weight: weight.reshape(-1, 3, side, side))


def _family(names: Collection[str]) -> str:
    """timm's module, where no other has such names: ViT and DeiT share theirs."""
    marks = {
        "dist_token": "deit",
        "blocks_token_only.": "cait",
        "patch_embed.backbone.": "vision_transformer_hybrid",
        "layers.0.blocks.0.attn.logit_scale": "swin_transformer_v2",
        "layers.0.blocks.0.attn.relative_position_bias_table": "swin_transformer",
    }
    for mark, family in marks.items():
        if any(name.startswith(mark) for name in names):
            return family
    return ""


TIMM = Dialect("timm", "timm", fits, translate)
