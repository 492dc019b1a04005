"""Training as timm and DeiT do it."""

from vit_tf.training.distillation import (
    Distiller,
    HardDistillation,
    SoftDistillation,
)
from vit_tf.training.losses import BinaryCrossEntropy
from vit_tf.training.mixup import Mixup
from vit_tf.training.rand_augment import RandAugment, rand_augment
from vit_tf.training.random_erasing import RandomErasing
from vit_tf.training.teacher_images import teacher_images
from vit_tf.training.train_transform import TrainTransform

__all__ = [
    "BinaryCrossEntropy",
    "Distiller",
    "HardDistillation",
    "Mixup",
    "RandAugment",
    "RandomErasing",
    "SoftDistillation",
    "TrainTransform",
    "rand_augment",
    "teacher_images",
]
