"""Training as timm and DeiT do it: images, what moves the weights, teachers."""

from vit_tf.training.distillation import (
    Distiller,
    HardDistillation,
    SoftDistillation,
)
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
from vit_tf.training.losses import BinaryCrossEntropy
from vit_tf.training.mixup import Mixup
from vit_tf.training.optimizers import SGD, AdamW, Lamb, create_optimizer
from vit_tf.training.param_groups import ParamGroup, layers_of, param_groups
from vit_tf.training.rand_augment import RandAugment, rand_augment
from vit_tf.training.random_erasing import RandomErasing
from vit_tf.training.schedule import CosineSchedule
from vit_tf.training.teacher_images import teacher_images
from vit_tf.training.train_transform import TrainTransform

__all__ = [
    "SGD",
    "AdamW",
    "BinaryCrossEntropy",
    "CosineSchedule",
    "Distiller",
    "HardDistillation",
    "Lamb",
    "Mixup",
    "ParamGroup",
    "RandAugment",
    "RandomErasing",
    "SoftDistillation",
    "TrainTransform",
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
    "rand_augment",
    "set_grad_checkpointing",
    "teacher_images",
    "train_only",
]
