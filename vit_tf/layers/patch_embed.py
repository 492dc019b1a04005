"""PatchEmbed: an image cut into patches, each projected to a token."""

import keras
import tensorflow as tf
from keras import ops

from vit_tf.layers.initializers import FanInUniform
from vit_tf.layers.module import Module


class PatchEmbed(Module):
    """timm's `layers/patch_embed.py`.

    Args:
        img_size: Height and width of the images, in pixels.
        patch_size: Height and width of a patch, in pixels.
        embed_dim: Width of a token.
    """

    def __init__(
        self,
        img_size: tuple[int, int] = (224, 224),
        patch_size: tuple[int, int] = (16, 16),
        embed_dim: int = 768,
        **kwargs,
    ):
        super().__init__(**kwargs)
        self.img_size = tuple(img_size)
        self.patch_size = tuple(patch_size)
        self.embed_dim = embed_dim
        self.grid_size = tuple(
            size // patch for size, patch in zip(img_size, patch_size, strict=True)
        )
        self.num_patches = self.grid_size[0] * self.grid_size[1]

    def build(self, input_shape):
        height, width = self.patch_size
        initializer = FanInUniform(fan_in=height * width * input_shape[-1])
        self.proj = keras.layers.Conv2D(
            self.embed_dim,
            kernel_size=self.patch_size,
            strides=self.patch_size,
            padding="valid",
            data_format="channels_last",
            kernel_initializer=initializer,
            bias_initializer=initializer,
            dtype=self.dtype_policy,
            name="proj",
        )
        self.proj.build(input_shape)

    def call(self, x: tf.Tensor) -> tf.Tensor:
        if tuple(x.shape[1:3]) != self.img_size:
            raise ValueError(
                f"images of {x.shape[1]} x {x.shape[2]} pixels given to a model of "
                f"{self.img_size[0]} x {self.img_size[1]}: pass img_size="
                "(height, width) when creating it"
            )
        x = self.proj(x)  # (B, H, W, C) -> (B, H/P, W/P, D)
        return ops.reshape(x, (-1, self.num_patches, self.embed_dim))  # -> (B, N, D)

    def compute_output_shape(self, input_shape):
        return (input_shape[0], self.num_patches, self.embed_dim)
