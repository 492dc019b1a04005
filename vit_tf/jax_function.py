"""The function that the original JAX files were trained with, which is not timm's.

Same weights, other constants: timm computes GELU exactly, JAX by tanh; in a hybrid's
network they add other numbers to variances and deviations. Which of the two a
conversion keeps to, `config.parity.reference` says. The layers are timm's either way,
so timm, with the same constants, remains what every layer is compared with.
"""

from typing import Any

import numpy as np
from ml_collections import ConfigDict

from vit_tf import checkpoints, proof
from vit_tf.parity import LOGITS, LayerDiff, layer_diff

CLASSES = ("VisionTransformer", "VisionTransformerHybrid")  # DeiT's is the first
BACKBONES = ("resnetv2", "resnetv2_flax")
REFERENCES = ("timm", "jax")


def configured(config: ConfigDict) -> ConfigDict:
    """The configuration with the constants of the function that it asks for.

    Args:
        config: Of the model. With `parity.reference` "timm" it is returned as it is.

    Raises:
        ValueError: if `parity.reference` is none of these, or there is no such model
            in JAX.
    """
    reference = config.parity.reference
    if reference not in REFERENCES:
        raise ValueError(
            f"config.parity.reference={reference!r} found, {' or '.join(REFERENCES)} "
            "expected"
        )
    return _with_constants(config) if reference == "jax" else config


def jax_arguments(config: ConfigDict) -> dict[str, Any]:
    """The constructor arguments that stand for JAX's constants.

    After `models_vit.py` and `models_resnet.py` of google-research/vision_transformer,
    and Flax's defaults.

    Raises:
        ValueError: if there is no such model in JAX.
    """
    arguments = {"act_layer": "gelu_tanh", "norm_layer": "LayerNorm(eps=1e-6)"}
    backbone = config.model.get("backbone")
    if config.model_class not in CLASSES or backbone not in (None, *BACKBONES):
        found = f"{config.architecture} of {config.family}"
        raise ValueError(
            f"config.parity.reference='jax': {found} found; expected: a model of "
            f"vision_transformer, or a hybrid with the backbone {BACKBONES[0]!r}"
        )
    if backbone:
        arguments["backbone"] = "resnetv2_flax"
    return arguments


def distance(
    config: ConfigDict, tensors: checkpoints.Tensors, images: np.ndarray
) -> LayerDiff:
    """How far timm's function is from JAX's, with the same weights, in float32.

    Args:
        config: The model's, as timm has it: before `configured`.
        tensors: timm name -> array.
        images: (B, H, W, C).

    Returns:
        The largest difference of logits (of features, if there is no head), and the
        largest value of JAX's.

    Raises:
        ValueError: if there is no such model in JAX.
        MappingError: if the tensors are not, all and only, the model's weights.
    """
    timm, jax = (
        proof.original(each, tensors, "float32").logits(images)
        for each in (config, _with_constants(config))
    )
    return layer_diff(LOGITS, {LOGITS: jax}, timm)


def _with_constants(config: ConfigDict) -> ConfigDict:
    config = config.copy_and_resolve_references()
    config.model.update(jax_arguments(config))
    return config
