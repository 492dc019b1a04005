"""About how many values the layers of a model give, from its configuration alone."""

from typing import NamedTuple

from ml_collections import ConfigDict

from vit_tf import models


class LayerValues(NamedTuple):
    """Numbers of values, for one image.

    Attributes:
        depth: The number of blocks as large as the first.
        of_block: What the layers of the first block give, all together.
        attention: Attention probabilities, of all blocks.
    """

    depth: float
    of_block: float
    attention: float


def layer_values(config: ConfigDict) -> LayerValues:
    """An estimate, from the number of tokens and heads and the width."""
    model = config.model
    height, width, _ = models.input_shape(config)
    patch = model.patch_size
    if config.family == "vision_transformer_hybrid":
        patch *= 16
    tokens = (height // patch) * (width // patch)
    if "depths" not in model:
        heads, attended, depth = model.num_heads, tokens, model.depth
    else:  # the first block: each stage has a quarter of the tokens, twice the width
        window = model.window_size  # one, or one for each stage
        window = window[0] if isinstance(window, tuple) else window
        heads, attended = model.num_heads[0], window**2
        depth = sum(n / 2**stage for stage, n in enumerate(model.depths))
    attention = tokens * attended * heads
    # In CaiT heads talk before the softmax, and after it.
    kept = 2.5 * attention if config.family == "cait" else attention
    of_block = kept + 20 * tokens * model.embed_dim
    return LayerValues(depth, of_block, depth * attention)
