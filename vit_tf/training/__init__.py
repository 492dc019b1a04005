"""Training as timm and DeiT do it."""

from vit_tf.training.distillation import (
    Distiller,
    HardDistillation,
    SoftDistillation,
)
from vit_tf.training.teacher_images import teacher_images

__all__ = [
    "Distiller",
    "HardDistillation",
    "SoftDistillation",
    "teacher_images",
]
