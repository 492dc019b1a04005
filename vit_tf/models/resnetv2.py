"""ResNetV2 (https://arxiv.org/abs/1912.11370), as far as hybrid models use it.

After timm's module: group normalisation behind standardised convolutions, without
pre-activation, padded as in TensorFlow.
"""

from collections.abc import Callable
from functools import partial

import keras
import tensorflow as tf

from vit_tf.layers.classifier import ClassifierHead
from vit_tf.layers.identity import Identity
from vit_tf.layers.module import Module
from vit_tf.layers.norm_act import GroupNormAct
from vit_tf.layers.sequential import Sequential
from vit_tf.layers.std_conv import StdConv2dSame

MakeLayer = Callable[..., keras.layers.Layer]
STD_CONV = partial(StdConv2dSame, eps=1e-8)  # as timm's hybrids have it


class Bottleneck(Module):
    """A residual block of three convolutions; timm's class of the same name.

    Args:
        out_chs: Number of output channels.
        bottle_ratio: Channels between, relative to the output's.
        stride: Step of the 3 x 3 convolution.
        downsample: Whether the shortcut is a convolution.
        conv_layer: What makes a convolution.
        norm_layer: What makes a norm.
    """

    def __init__(
        self,
        out_chs: int,
        bottle_ratio: float = 0.25,
        stride: int = 1,
        downsample: bool = False,
        conv_layer: MakeLayer = STD_CONV,
        norm_layer: MakeLayer = GroupNormAct,
        **kwargs,
    ):
        super().__init__(**kwargs)
        self.out_chs = out_chs
        self.mid_chs = make_divisible(out_chs * bottle_ratio)
        self.stride = stride
        self.project = downsample
        self.conv_layer = conv_layer
        self.norm_layer = norm_layer

    def build(self, input_shape):
        self.downsample = None
        if self.project:
            self.downsample = DownsampleConv(
                self.out_chs,
                self.stride,
                conv_layer=self.conv_layer,
                norm_layer=self.norm_layer,
                dtype=self.dtype_policy,
                name="downsample",
            )
            self.downsample.build(input_shape)
        self.conv1 = self._conv(self.mid_chs, 1, name="conv1")
        self.norm1 = self._norm("norm1")
        self.conv2 = self._conv(self.mid_chs, 3, stride=self.stride, name="conv2")
        self.norm2 = self._norm("norm2")
        self.conv3 = self._conv(self.out_chs, 1, name="conv3")
        self.norm3 = self._norm("norm3", apply_act=False, zero_init=True)
        self.drop_path = Identity(dtype=self.dtype_policy, name="drop_path")
        self.act3 = keras.layers.Activation(
            tf.nn.relu, dtype=self.dtype_policy, name="act3"
        )
        shape = input_shape
        for layer in (
            self.conv1, self.norm1, self.conv2, self.norm2, self.conv3, self.norm3,
            self.drop_path, self.act3,
        ):  # fmt: skip
            layer.build(shape)
            shape = layer.compute_output_shape(shape)

    def call(self, x: tf.Tensor, training: bool = False) -> tf.Tensor:
        shortcut = x if self.downsample is None else self.downsample(x)
        x = self.norm1(self.conv1(x))  # (B, H, W, mid)
        x = self.norm2(self.conv2(x))  # (B, H/stride, W/stride, mid)
        x = self.norm3(self.conv3(x))  # (B, H/stride, W/stride, out)
        return self.act3(self.drop_path(x, training=training) + shortcut)

    def compute_output_shape(self, input_shape):
        return self.conv3.compute_output_shape(
            self.conv2.compute_output_shape(input_shape)
        )

    def _conv(self, channels: int, size: int, **kwargs) -> keras.layers.Layer:
        return self.conv_layer(channels, size, dtype=self.dtype_policy, **kwargs)

    def _norm(self, name: str, **kwargs) -> keras.layers.Layer:
        return self.norm_layer(dtype=self.dtype_policy, name=name, **kwargs)


class DownsampleConv(Module):
    """The shortcut where a block changes size or width; timm's class.

    Args:
        out_chs: Number of output channels.
        stride: Step of the convolution.
        conv_layer: What makes a convolution.
        norm_layer: What makes a norm.
    """

    def __init__(
        self,
        out_chs: int,
        stride: int = 1,
        conv_layer: MakeLayer = STD_CONV,
        norm_layer: MakeLayer = GroupNormAct,
        **kwargs,
    ):
        super().__init__(**kwargs)
        self.out_chs = out_chs
        self.stride = stride
        self.conv_layer = conv_layer
        self.norm_layer = norm_layer

    def build(self, input_shape):
        dtype = self.dtype_policy
        self.conv = self.conv_layer(
            self.out_chs, 1, self.stride, dtype=dtype, name="conv"
        )
        self.norm = self.norm_layer(apply_act=False, dtype=dtype, name="norm")
        self.conv.build(input_shape)
        self.norm.build(self.conv.compute_output_shape(input_shape))

    def call(self, x: tf.Tensor) -> tf.Tensor:
        return self.norm(self.conv(x))

    def compute_output_shape(self, input_shape):
        return self.conv.compute_output_shape(input_shape)


class ResNetStage(Module):
    """Blocks of one width; timm's class of the same name.

    Args:
        out_chs: Number of output channels.
        stride: Step of the first block.
        depth: Number of blocks.
        conv_layer: What makes a convolution.
        norm_layer: What makes a norm.
    """

    def __init__(
        self,
        out_chs: int,
        stride: int,
        depth: int,
        conv_layer: MakeLayer = STD_CONV,
        norm_layer: MakeLayer = GroupNormAct,
        **kwargs,
    ):
        super().__init__(**kwargs)
        self.out_chs = out_chs
        self.stride = stride
        self.depth = depth
        self.conv_layer = conv_layer
        self.norm_layer = norm_layer

    def build(self, input_shape):
        dtype = self.dtype_policy
        blocks = [
            Bottleneck(
                self.out_chs,
                stride=self.stride if i == 0 else 1,
                downsample=i == 0,
                conv_layer=self.conv_layer,
                norm_layer=self.norm_layer,
                dtype=dtype,
                name=str(i),
            )
            for i in range(self.depth)
        ]
        self.blocks = Sequential(blocks, dtype=dtype, name="blocks")
        self.blocks.build(input_shape)

    def call(self, x: tf.Tensor, training: bool = False) -> tf.Tensor:
        return self.blocks(x, training=training)

    def compute_output_shape(self, input_shape):
        return self.blocks.compute_output_shape(input_shape)


class ResNetV2(Module):
    """Images (B, H, W, C) to features (B, H/32, W/32, channels) after four stages.

    timm's class of the same name with `num_classes=0`, `global_pool=""`,
    `preact=False` and `stem_type="same"`.

    Args:
        layers: Number of blocks of each stage.
        channels: Number of channels of each stage.
        stem_chs: Number of channels of the stem.
        conv_layer: What makes a convolution.
        norm_layer: What makes a norm.
    """

    def __init__(
        self,
        layers: tuple[int, ...],
        channels: tuple[int, ...] = (256, 512, 1024, 2048),
        stem_chs: int = 64,
        conv_layer: MakeLayer = STD_CONV,
        norm_layer: MakeLayer = GroupNormAct,
        **kwargs,
    ):
        super().__init__(**kwargs)
        self.depths = tuple(layers)
        self.channels = tuple(channels)
        self.stem_chs = stem_chs
        self.conv_layer = conv_layer
        self.norm_layer = norm_layer

    def build(self, input_shape):
        dtype = self.dtype_policy
        layers = dict(conv_layer=self.conv_layer, norm_layer=self.norm_layer)
        self.stem = create_resnetv2_stem(
            self.stem_chs, **layers, dtype=dtype, name="stem"
        )
        stages = [
            ResNetStage(
                self.channels[i], stride=1 if i == 0 else 2, depth=depth, **layers,
                dtype=dtype, name=str(i),
            )
            for i, depth in enumerate(self.depths)
        ]  # fmt: skip
        self.stages = Sequential(stages, dtype=dtype, name="stages")
        self.head = ClassifierHead(0, pool_type="", dtype=dtype, name="head")
        shape = input_shape
        for layer in (self.stem, self.stages, self.head):
            layer.build(shape)
            shape = layer.compute_output_shape(shape)

    def call(self, x: tf.Tensor, training: bool = False) -> tf.Tensor:
        x = self.stem(x)  # (B, H/4, W/4, stem_chs)
        x = self.stages(x, training=training)
        return self.head(x, training=training)

    def compute_output_shape(self, input_shape):
        return self.stages.compute_output_shape(
            self.stem.compute_output_shape(input_shape)
        )

    @property
    def repeated_blocks(self) -> list[list[keras.layers.Layer]]:
        """Groups of blocks that compute the same function: a stage's but its first."""
        stages = [stage.blocks.modules[1:] for stage in self.stages.modules]
        return [blocks for blocks in stages if len(blocks) > 1]


def create_resnetv2_stem(
    out_chs: int = 64,
    conv_layer: MakeLayer = STD_CONV,
    norm_layer: MakeLayer = GroupNormAct,
    *,
    dtype,
    name: str,
    alone: bool = False,
) -> Sequential:
    """A convolution and a pooling, each of stride 2; timm's function of that name.

    Args:
        out_chs: Number of output channels.
        conv_layer: What makes a convolution.
        norm_layer: What makes a norm.
        dtype: The layer's.
        name: The layer's.
        alone: Whether no network follows that initialises it: it then starts from
            torch's default, uniform within +-1/sqrt(fan_in).
    """
    uniform = keras.initializers.VarianceScaling(1 / 3, "fan_in", "uniform")
    conv = conv_layer(
        out_chs, 7, stride=2, dtype=dtype, name="conv",
        kernel_initializer=uniform if alone else None,
    )  # fmt: skip
    pool = keras.layers.MaxPooling2D(  # timm's MaxPool2dSame
        3, strides=2, padding="same", data_format="channels_last", dtype=dtype,
        name="pool",
    )  # fmt: skip
    norm = norm_layer(dtype=dtype, name="norm")
    return Sequential([conv, norm, pool], dtype=dtype, name=name)


def make_divisible(width: float, divisor: int = 8) -> int:
    """The multiple of `divisor` nearest to `width`, at least nine tenths of it."""
    nearest = max(divisor, int(width + divisor / 2) // divisor * divisor)
    return nearest + divisor if nearest < 0.9 * width else nearest
