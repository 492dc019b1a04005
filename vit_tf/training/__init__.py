"""Training as timm trains: what moves the weights, and which of them."""

from vit_tf.training.param_groups import ParamGroup, layers_of, param_groups
from vit_tf.training.schedule import CosineSchedule

__all__ = ["CosineSchedule", "ParamGroup", "layers_of", "param_groups"]
