"""Training as timm trains: what moves the weights, and which of them."""

from vit_tf.training.freeze import (
    attention,
    freeze,
    head,
    layers_below,
    norms,
    train_only,
)
from vit_tf.training.gradient_checkpointing import set_grad_checkpointing
from vit_tf.training.lora import enable_lora, merge_lora
from vit_tf.training.optimizers import SGD, AdamW, Lamb, create_optimizer
from vit_tf.training.param_groups import ParamGroup, layers_of, param_groups
from vit_tf.training.schedule import CosineSchedule

__all__ = [
    "SGD",
    "AdamW",
    "CosineSchedule",
    "Lamb",
    "ParamGroup",
    "attention",
    "create_optimizer",
    "enable_lora",
    "freeze",
    "head",
    "layers_below",
    "layers_of",
    "merge_lora",
    "norms",
    "param_groups",
    "set_grad_checkpointing",
    "train_only",
]
