"""timm's evaluation transform, bit for bit, in TensorFlow's operations."""

from vit_tf.preprocessing.data_config import DataConfig
from vit_tf.preprocessing.transform import (
    create_transform,
    transform,
    transform_batch,
)

__all__ = ["DataConfig", "create_transform", "transform", "transform_batch"]
