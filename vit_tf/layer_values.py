"""About how many values the layers of a model give, from its configuration alone."""

from typing import NamedTuple

from ml_collections import ConfigDict

from vit_tf import models


class LayerValues(NamedTuple):
    """Numbers of values, for one image.

    Attributes:
        depth: The number of blocks as large as the first.
        of_block: What the layers of the first block give, all together.
        backbone: What a hybrid's layers before the blocks give.
        attention: Attention probabilities, of all blocks.
    """

    depth: float
    of_block: float
    backbone: float
    attention: float

    @property
    def total(self) -> float:
        """What all layers give."""
        return self.depth * self.of_block + self.backbone


def layer_values(config: ConfigDict) -> LayerValues:
    """An estimate, from the number of tokens and heads and the width."""
    model = config.model
    height, width, _ = models.input_shape(config)
    patch, backbone = model.patch_size, 0.0
    if "backbone" in model:
        quarter = (height // 4) * (width // 4)
        patch *= _reduction(model)
        backbone = quarter * _per_quarter_pixel(model)
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
    return LayerValues(depth, of_block, backbone, depth * attention)


def _reduction(model: ConfigDict) -> int:
    """Pixels of an image along a side of one of its backbone's pixels."""
    stages = len(model.backbone_layers)
    return 16 if model.backbone == "conv_stem" else 4 * 2 ** max(0, stages - 1)


def _per_quarter_pixel(model: ConfigDict) -> float:
    """Values of a backbone, for one pixel of an image of a quarter of the size.

    Its stem has about 800. A ResNet's stage halves the size and doubles the width; a
    block's layers give some five times what it gives, the first block's twice that.
    """
    stages = enumerate(model.backbone_layers)
    return 800 + sum(256 / 2**stage * 5.5 * (count + 1) for stage, count in stages)
