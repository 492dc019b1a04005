"""PatchEmbed: an image cut into patches, each projected to a token."""

from collections.abc import Callable

import keras
import tensorflow as tf

from vit_tf.layers.identity import Identity
from vit_tf.layers.initializers import FanInUniform
from vit_tf.layers.module import Module
from vit_tf.layers.sizes import sizes
from vit_tf.layers.window import pad

FORMATS = (None, "NLC", "NHWC")


class PatchEmbed(Module):
    """timm's `layers/patch_embed.py`, channels last.

    Args:
        img_size: Height and width of the images, or one number for both, in pixels;
            None for images of any size, of which no more is asked.
        patch_size: Height and width of a patch, or one number for both, in pixels.
        embed_dim: Width of a token.
        norm_layer: Makes the norm behind the projection, given `dtype` and `name`;
            None for no norm.
        flatten: Whether tokens come as (B, N, embed_dim), and not as
            (B, H, W, embed_dim), where `output_fmt` does not say it.
        output_fmt: "NLC", "NHWC", or None for what `flatten` says.
        bias: Whether the projection has one.
        strict_img_size: Whether images must be of `img_size`. If not, any multiple of
            the patch will do.
        dynamic_img_pad: Whether images that are no multiple of the patch are padded
            with zeros, below and on the right.

    Raises:
        ValueError: if `output_fmt` is another; when called, for images of a size that
            it does not take. Where the size is not known until the graph runs,
            tf.errors.InvalidArgumentError then.
    """

    def __init__(
        self,
        img_size: int | tuple[int, int] | None = 224,
        patch_size: int | tuple[int, int] = 16,
        embed_dim: int = 768,
        norm_layer: Callable[..., keras.layers.Layer] | None = None,
        flatten: bool = True,
        output_fmt: str | None = None,
        bias: bool = True,
        strict_img_size: bool = True,
        dynamic_img_pad: bool = False,
        **kwargs,
    ):
        super().__init__(**kwargs)
        if output_fmt not in FORMATS:
            raise ValueError(f"output_fmt={output_fmt!r}: expected one of {FORMATS}")
        self.patch_size = pair(patch_size)
        self.img_size = self.grid_size = self.num_patches = None
        if img_size is not None:
            self.img_size = pair(img_size)
            height, width = self.img_size
            self.grid_size = (height // self.patch_size[0], width // self.patch_size[1])
            self.num_patches = self.grid_size[0] * self.grid_size[1]
        self.embed_dim = embed_dim
        self.norm_layer = norm_layer
        self.flatten = flatten if output_fmt is None else output_fmt == "NLC"
        self.output_fmt = output_fmt
        self.bias = bias
        self.strict_img_size = strict_img_size
        self.dynamic_img_pad = dynamic_img_pad

    def build(self, input_shape):
        height, width = self.patch_size
        initializer = FanInUniform(fan_in=height * width * input_shape[-1])
        self.proj = keras.layers.Conv2D(
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
        norm_layer = self.norm_layer or Identity
        self.norm = norm_layer(dtype=self.dtype_policy, name="norm")
        self.proj.build(input_shape)
        self.norm.build((None, None, self.embed_dim))

    def call(self, x: tf.Tensor) -> tf.Tensor:
        if self.strict_img_size and self.img_size and None in x.shape[1:3]:
            x = tf.ensure_shape(x, (None, *self.img_size, None))  # when the graph runs
        height, width = sizes(x, 1, 2)
        self._check_size(height, width)
        if self.dynamic_img_pad:
            x = pad(x, -height % self.patch_size[0], -width % self.patch_size[1])
        x = self.proj(x)  # (B, H, W, C) -> (B, H/P, W/P, D)
        if self.flatten:
            H, W = self.dynamic_feat_size((height, width))
            x = tf.reshape(x, (-1, H * W, self.embed_dim))  # -> (B, N, D)
        return self.norm(x)

    def feat_ratio(self) -> int:
        """How many pixels a patch has along an axis; the longer one's."""
        return max(self.patch_size)

    def dynamic_feat_size(
        self, img_size: tuple[int | tf.Tensor, int | tf.Tensor]
    ) -> tuple[int | tf.Tensor, int | tf.Tensor]:
        """Height and width of the grid, in patches, of images of `img_size` pixels."""
        (height, width), (rows, columns) = img_size, self.patch_size
        if self.dynamic_img_pad:
            return -(-height // rows), -(-width // columns)
        return height // rows, width // columns

    def compute_output_shape(self, input_shape):
        sizes = zip(input_shape[1:3], self.patch_size, strict=True)
        H, W = (
            size and (-(-size // patch) if self.dynamic_img_pad else size // patch)
            for size, patch in sizes
        )
        if not self.flatten:
            return (input_shape[0], H, W, self.embed_dim)
        return (input_shape[0], H and W and H * W, self.embed_dim)

    def _check_size(self, height: int | tf.Tensor, width: int | tf.Tensor) -> None:
        if self.img_size is None:
            return
        if self.strict_img_size:
            if (_known(height), _known(width)) != self.img_size:
                raise ValueError(
                    f"images of {_known(height)} x {_known(width)} pixels given to a "
                    f"model of {self.img_size[0]} x {self.img_size[1]}: pass img_size="
                    "(height, width) when creating it"
                )
            return
        if self.dynamic_img_pad:
            return
        for axis, size, patch in zip(
            ("height", "width"), (height, width), self.patch_size, strict=True
        ):
            problem = f"is no multiple of the patch's, {patch} pixels"
            if _known(size) is None:
                tf.debugging.assert_equal(
                    size % patch, 0, f"the images' {axis} {problem}"
                )
            elif size % patch:
                raise ValueError(f"the images' {axis}, {size} pixels, {problem}")


def _known(size: int | tf.Tensor) -> int | None:
    return size if isinstance(size, int) else None


def pair(size: int | tuple[int, int]) -> tuple[int, int]:
    """A height and a width, given both or one number for both."""
    return (size, size) if isinstance(size, int) else tuple(size)


def check_sizes(
    img_size: int | tuple[int, int],
    patch_size: int | tuple[int, int],
    **counts: int,
) -> None:
    """
    Raises:
        ValueError: if images are smaller than a patch, or one of `counts` is none.
    """
    for name, count in counts.items():
        if count < 1:
            raise ValueError(f"{name}={count}: expected 1 or more")
    sizes = zip(pair(img_size), pair(patch_size), strict=True)
    if any(patch < 1 or size < patch for size, patch in sizes):
        raise ValueError(
            f"img_size={img_size}, patch_size={patch_size}: expected images of one "
            "patch or more"
        )
