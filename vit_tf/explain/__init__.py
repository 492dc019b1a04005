"""What a model looks at: each function takes a model and images, and gives arrays.

They need TensorFlow and NumPy; `vit_tf.explain.plots`, which draws what they give,
needs matplotlib.
"""

from vit_tf.explain.attention_distance import mean_attention_distance
from vit_tf.explain.attention_maps import attention_maps
from vit_tf.explain.class_attention import class_attention_maps, class_saliency
from vit_tf.explain.filters import patch_filters
from vit_tf.explain.gradient_attention import gradient_attention
from vit_tf.explain.pos_embed import pos_embed_similarity
from vit_tf.explain.rollout import attention_rollout
from vit_tf.explain.window_attention import window_attention_maps

__all__ = [
    "attention_maps",
    "attention_rollout",
    "class_attention_maps",
    "class_saliency",
    "gradient_attention",
    "mean_attention_distance",
    "patch_filters",
    "pos_embed_similarity",
    "window_attention_maps",
]
