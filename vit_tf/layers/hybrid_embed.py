"""HybridEmbed: a convolutional network's features, each patch of which is a token."""

import math

import keras
import tensorflow as tf

from vit_tf.layers.identity import Identity
from vit_tf.layers.initializers import FanInUniform
from vit_tf.layers.module import Module
from vit_tf.layers.sizes import sizes
from vit_tf.layers.window import pad


class HybridEmbed(Module):
    """https://arxiv.org/abs/2010.11929, section 3.1; timm's `layers/hybrid_embed.py`.

    Args:
        backbone: The network, not yet built, from images (B, H, W, C) to features
            (B, H/r, W/r, F).
        img_size: Height and width of the images, in pixels.
        patch_size: Height and width of a patch, in features.
        embed_dim: Width of a token.
        bias: Whether the projection has one.
        proj: Whether there is a projection; without, F must be `embed_dim` and a
            feature is a token.
        output_fmt: None for tokens (B, N, D), "NHWC" for (B, H', W', D).
        strict_img_size: Whether images of another size than `img_size` are an error.
        dynamic_img_pad: Whether features are padded with zeros, at the end, to whole
            patches.

    Raises:
        ValueError: when built, if the features are not whole patches, or not of
            `embed_dim` where there is no projection; when called, for images of
            another size.
    """

    def __init__(
        self,
        backbone: keras.layers.Layer,
        img_size: tuple[int, int] = (224, 224),
        patch_size: tuple[int, int] = (1, 1),
        embed_dim: int = 768,
        bias: bool = True,
        proj: bool = True,
        output_fmt: str | None = None,
        strict_img_size: bool = True,
        dynamic_img_pad: bool = False,
        **kwargs,
    ):
        super().__init__(**kwargs)
        self.backbone = backbone
        self.img_size = tuple(img_size)
        self.patch_size = tuple(patch_size)
        self.embed_dim = embed_dim
        self.bias = bias
        self.project = proj
        self.output_fmt = output_fmt
        self.strict_img_size = strict_img_size
        self.dynamic_img_pad = dynamic_img_pad

    def build(self, input_shape):
        channels = input_shape[-1]
        self.backbone.build(input_shape)
        shape = self.backbone.compute_output_shape((None, *self.img_size, channels))
        self.feature_size, self.feature_dim = tuple(shape[1:3]), shape[3]
        self.feature_ratio = tuple(
            size // feature
            for size, feature in zip(self.img_size, self.feature_size, strict=True)
        )
        self.grid_size = (
            tuple(  # whole patches, as in timm, also where features are padded
                feature // patch
                for feature, patch in zip(
                    self.feature_size, self.patch_size, strict=True
                )
            )
        )
        self.num_patches = self.grid_size[0] * self.grid_size[1]
        whole = zip(self.feature_size, self.patch_size, strict=True)
        if not self.dynamic_img_pad and any(size % patch for size, patch in whole):
            raise ValueError(
                f"features of {self.feature_size} from images of {self.img_size}: "
                f"expected whole patches of {self.patch_size}"
            )
        self.proj = self._projection()
        self.proj.build((None, *self.feature_size, self.feature_dim))

    def call(self, x: tf.Tensor, training: bool = False) -> tf.Tensor:
        self._check_size(x)
        x = self.backbone(x, training=training)  # (B, H, W, C) -> (B, H/r, W/r, F)
        x = self.proj(self._padded(x))  # (B, H/rP, W/rP, D)
        if self.output_fmt == "NHWC":
            return x
        batch, height, width = sizes(x, 0, 1, 2)
        return tf.reshape(x, (batch, height * width, self.embed_dim))  # (B, N, D)

    def feat_ratio(self) -> int:
        """Pixels from token to token, in the larger direction."""
        pairs = zip(self.feature_ratio, self.patch_size, strict=True)
        return max(feature * patch for feature, patch in pairs)

    def _projection(self) -> keras.layers.Layer | Identity:
        if not self.project:
            if self.feature_dim != self.embed_dim:
                raise ValueError(
                    f"features of width {self.feature_dim}, and tokens of "
                    f"{self.embed_dim}: expected the same where proj=False"
                )
            return Identity(dtype=self.dtype_policy, name="proj")
        fan_in = math.prod(self.patch_size) * self.feature_dim
        initializer = FanInUniform(fan_in=fan_in)
        return keras.layers.Conv2D(
            self.embed_dim,
            kernel_size=self.patch_size,
            strides=self.patch_size,
            padding="valid",
            data_format="channels_last",
            use_bias=self.bias,
            kernel_initializer=initializer,
            bias_initializer=initializer,
            dtype=self.dtype_policy,
            name="proj",
        )

    def _check_size(self, x: tf.Tensor) -> None:
        """timm's does not look; here another size is an error, as in `PatchEmbed`."""
        if self.strict_img_size and tuple(x.shape[1:3]) != self.img_size:
            raise ValueError(
                f"images of {x.shape[1]} x {x.shape[2]} pixels given to a model of "
                f"{self.img_size[0]} x {self.img_size[1]}: pass img_size="
                "(height, width) when creating it"
            )

    def _padded(self, x: tf.Tensor) -> tf.Tensor:
        """Features with zeros at the end, up to whole patches."""
        if not self.dynamic_img_pad:
            return x
        height, width = sizes(x, 1, 2)
        return pad(x, -height % self.patch_size[0], -width % self.patch_size[1])
