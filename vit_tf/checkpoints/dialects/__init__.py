"""Each project's names for a vision transformer's tensors, and timm's for the same."""

from vit_tf.checkpoints.dialects.apple import APPLE
from vit_tf.checkpoints.dialects.beit3 import BEIT3
from vit_tf.checkpoints.dialects.clip import CLIP
from vit_tf.checkpoints.dialects.dialect import Dialect, Tensors
from vit_tf.checkpoints.dialects.facebookresearch import FACEBOOKRESEARCH
from vit_tf.checkpoints.dialects.flax import FLAX
from vit_tf.checkpoints.dialects.microsoft import MICROSOFT
from vit_tf.checkpoints.dialects.open_clip import OPEN_CLIP
from vit_tf.checkpoints.dialects.radio import RADIO
from vit_tf.checkpoints.dialects.timm import TIMM
from vit_tf.checkpoints.dialects.transformers import TRANSFORMERS
from vit_tf.checkpoints.errors import UnknownLayoutError, listing

# The first that fits; timm's own names last.
DIALECTS = (
    FLAX, TRANSFORMERS, MICROSOFT, FACEBOOKRESEARCH, CLIP, OPEN_CLIP, APPLE, BEIT3,
    RADIO, TIMM,
)  # fmt: skip


def detect(tensors: Tensors, name: str = "") -> Dialect:
    """The dialect of a checkpoint, by its names.

    Args:
        tensors: The file's name -> array.
        name: The dialect that it is said to be; "" to find out.

    Raises:
        UnknownLayoutError: if none fits, or there is none of that name.
    """
    known = {dialect.name: dialect for dialect in DIALECTS}
    if name:
        if name not in known:
            raise UnknownLayoutError(
                f"dialect {name!r} found; expected: {', '.join(known)}"
            )
        return known[name]
    for dialect in DIALECTS:
        if dialect.fits(tensors):
            return dialect
    raise UnknownLayoutError(
        f"tensors named {listing(tensors, 4)} found; expected: names as they are in "
        f"{', '.join(dialect.title for dialect in DIALECTS)}"
    )
