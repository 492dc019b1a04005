"""timm's evaluation transform, bit for bit, in TensorFlow's operations."""

from vit_tf.preprocessing.data_config import DataConfig
from vit_tf.preprocessing.flat import flatten, transform_flat
from vit_tf.preprocessing.layer import Preprocessing, check_images
from vit_tf.preprocessing.transform import (
    create_transform,
    transform,
    transform_batch,
)

__all__ = [
    "DataConfig",
    "Preprocessing",
    "check_images",
    "create_transform",
    "flatten",
    "transform",
    "transform_batch",
    "transform_flat",
]
