"""DeiT (https://arxiv.org/abs/2012.12877, https://arxiv.org/abs/2204.07118).

DeiT and DeiT-III are plain Vision Transformers; the distilled DeiT is its own class.
"""

import keras
import tensorflow as tf

from vit_tf.layers.classifier import create_classifier
from vit_tf.layers.initializers import Normal
from vit_tf.models.vision_transformer import VisionTransformer

__all__ = ["VisionTransformer", "VisionTransformerDistilled"]


@keras.saving.register_keras_serializable(package="vit_tf")
class VisionTransformerDistilled(VisionTransformer):
    """A Vision Transformer with a distillation token; timm's class of the same name.

    Its output is the mean of two heads. After `set_distilled_training()` it returns
    their pair while training, (class logits, distillation logits), as the hard-label
    distillation loss needs them. Evaluation gives the mean also then, which a loss for
    the pair does not take: validate with a function of your own.

    A difference from timm: its PatchDropout is made before the distillation token is
    counted, and may drop it; here it always stays.

    Args:
        **kwargs: those of `VisionTransformer`, with `global_pool="token"`.

    Raises:
        ValueError: for another `global_pool`, register tokens, or tokens without a
            position embedding.
    """

    def __init__(self, **kwargs):
        super().__init__(**kwargs)
        if self.global_pool != "token" or self.reg_tokens:
            raise ValueError(
                "the distilled head reads the class and the distillation token: "
                f"global_pool={self.global_pool!r} and reg_tokens={self.reg_tokens} "
                'given, "token" and 0 expected'
            )
        if self.no_embed_class or self.pos_embed_arg != "learn":
            raise ValueError(
                "each token of a distilled model has a position embedding: "
                f"no_embed_class={self.no_embed_class} and pos_embed="
                f'{self.pos_embed_arg!r} given, False and "learn" expected'
            )
        self.num_prefix_tokens = 2
        self.distilled_training = False

    def build(self, input_shape):
        self.head_dist = create_classifier(self, "head_dist")
        super().build(input_shape)
        self.head_dist.build((None, self.embed_dim))

    def set_distilled_training(self, enable: bool = True) -> None:
        """Whether training returns the pair of logits.

        Compile the model anew after. As in timm, it is not kept in files.
        """
        self.distilled_training = enable

    def forward_head(
        self, x: tf.Tensor, pre_logits: bool = False, training: bool = False
    ) -> tf.Tensor | tuple[tf.Tensor, tf.Tensor]:
        x, x_dist = x[:, 0], x[:, 1]
        x = self.head_drop(x, training=training)
        x_dist = self.head_drop(x_dist, training=training)
        if pre_logits:
            return (x + x_dist) / 2
        x, x_dist = self.head(x), self.head_dist(x_dist)
        if self.distilled_training and training:
            return x, x_dist
        return (x + x_dist) / 2

    def _build_pos_embed(self) -> None:
        self.dist_token = self.add_weight(
            name="dist_token",
            shape=(1, 1, self.embed_dim),
            initializer=Normal(),
            autocast=False,
        )
        super()._build_pos_embed()

    def _prefix_tokens(self) -> list:
        return [self.cls_token, self.dist_token]
