"""Micro models: the widths do not matter where the options are the same."""

import numpy as np

import vit_tf
from vit_tf import models, source
from vit_tf.checkpoints.random import RandomTensors

MICRO = dict(img_size=32, embed_dim=24, depth=2, num_heads=3, num_classes=7)


def micro_config(name: str = "deit_tiny_patch16_224", **arguments):
    """A configuration of `name` that is built and compared within a second."""
    return vit_tf.get_config(name, **{**MICRO, **arguments})


def smallest_config(name: str, **arguments):
    """`models.small_config`, with two blocks only in the first of several stages.

    For tests of what is done with a model: what its later stages compute is compared
    in `test_variants.py`.
    """
    model = models.small_config(name).model
    stages = {
        argument: (2, 1, 1, 1)[: len(model[argument])]
        for argument in ("depths", "backbone_layers")
        if model.get(argument)
    }
    return models.small_config(name, **{**stages, **arguments})


def random_tensors(config, seed: int = 0) -> dict[str, np.ndarray]:
    """Every parameter of the configured model, randomised."""
    return dict(RandomTensors(source.parameter_shapes(config), seed))
