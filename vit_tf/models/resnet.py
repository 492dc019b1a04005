"""ResNet-D (https://arxiv.org/abs/1812.01187), as far as hybrid models use it.

After timm's `resnet.py`: bottleneck blocks with batch normalisation, a stem of three
convolutions, and shortcuts that average before they project.
"""

import keras
import tensorflow as tf

from vit_tf.layers.batch_norm import BatchNorm2d
from vit_tf.layers.conv import Conv2d
from vit_tf.layers.identity import Identity
from vit_tf.layers.initializers import FanOutNormal
from vit_tf.layers.max_pool import MaxPool2d
from vit_tf.layers.module import Module
from vit_tf.layers.sequential import Sequential


class Bottleneck(Module):
    """A residual block of three convolutions; timm's class of the same name.

    Args:
        planes: Number of channels between; the output has four times as many.
        stride: Step of the 3 x 3 convolution.
        downsample: Whether the shortcut is pooled and projected.
    """

    expansion = 4

    def __init__(
        self, planes: int, stride: int = 1, downsample: bool = False, **kwargs
    ):
        super().__init__(**kwargs)
        self.planes = planes
        self.stride = stride
        self.project = downsample

    def build(self, input_shape):
        dtype, planes = self.dtype_policy, self.planes
        outplanes = planes * self.expansion
        self.conv1 = conv(planes, 1, dtype=dtype, name="conv1")
        self.bn1 = BatchNorm2d(dtype=dtype, name="bn1")
        self.act1 = relu("act1", dtype)
        self.conv2 = conv(
            planes, 3, stride=self.stride, padding=1, dtype=dtype,
            name="conv2",
        )  # fmt: skip
        self.bn2 = BatchNorm2d(dtype=dtype, name="bn2")
        self.act2 = relu("act2", dtype)
        self.conv3 = conv(outplanes, 1, dtype=dtype, name="conv3")
        self.bn3 = BatchNorm2d(zero_init=True, dtype=dtype, name="bn3")
        self.act3 = relu("act3", dtype)
        self.downsample = None
        if self.project:
            self.downsample = downsample_avg(
                outplanes, self.stride, dtype=dtype, name="downsample"
            )
            self.downsample.build(input_shape)
        shape = input_shape
        for layer in (
            self.conv1, self.bn1, self.act1, self.conv2, self.bn2, self.act2,
            self.conv3, self.bn3, self.act3,
        ):  # fmt: skip
            layer.build(shape)
            shape = layer.compute_output_shape(shape)

    def call(self, x: tf.Tensor, training: bool = False) -> tf.Tensor:
        shortcut = x
        x = self.act1(self.bn1(self.conv1(x), training=training))
        x = self.act2(self.bn2(self.conv2(x), training=training))
        x = self.bn3(self.conv3(x), training=training)
        if self.downsample is not None:
            shortcut = self.downsample(shortcut, training=training)
        return self.act3(x + shortcut)

    def compute_output_shape(self, input_shape):
        return self.conv3.compute_output_shape(
            self.conv2.compute_output_shape(input_shape)
        )


class ResNet(Module):
    """Images (B, H, W, C) to features (B, H/32, W/32, 4 planes) after four stages.

    timm's class of the same name as `features_only=True` leaves it, up to its last
    stage, with `stem_type="deep"` and `avg_down=True`.

    Args:
        layers: Number of blocks of each stage.
        channels: Number of planes of each stage.
        stem_width: Number of channels in the stem; its output has twice as many.
    """

    def __init__(
        self,
        layers: tuple[int, ...],
        channels: tuple[int, ...] = (64, 128, 256, 512),
        stem_width: int = 32,
        **kwargs,
    ):
        super().__init__(**kwargs)
        self.depths = tuple(layers)
        self.channels = tuple(channels)
        self.stem_width = stem_width

    def build(self, input_shape):
        dtype = self.dtype_policy
        inplanes = 2 * self.stem_width
        self.conv1 = deep_stem(self.stem_width, dtype=dtype, name="conv1")
        self.bn1 = BatchNorm2d(dtype=dtype, name="bn1")
        self.act1 = relu("act1", dtype)
        self.maxpool = MaxPool2d(3, stride=2, padding=1, dtype=dtype, name="maxpool")
        self.stages = []
        for i, depth in enumerate(self.depths):
            planes = self.channels[i]
            stride = 1 if i == 0 else 2
            outplanes = planes * Bottleneck.expansion
            blocks = [
                Bottleneck(
                    planes,
                    stride=stride if j == 0 else 1,
                    downsample=j == 0 and (stride != 1 or inplanes != outplanes),
                    dtype=dtype,
                    name=str(j),
                )
                for j in range(depth)
            ]
            self.stages.append(Sequential(blocks, dtype=dtype, name=f"layer{i + 1}"))
            inplanes = outplanes
        shape = input_shape
        for layer in (self.conv1, self.bn1, self.act1, self.maxpool, *self.stages):
            layer.build(shape)
            shape = layer.compute_output_shape(shape)

    def call(self, x: tf.Tensor, training: bool = False) -> tf.Tensor:
        x = self.conv1(x, training=training)  # (B, H/2, W/2, 2 stem_width)
        x = self.act1(self.bn1(x, training=training))
        x = self.maxpool(x)  # (B, H/4, W/4, 2 stem_width)
        for stage in self.stages:
            x = stage(x, training=training)
        return x

    def compute_output_shape(self, input_shape):
        for layer in (self.conv1, self.maxpool, *self.stages):
            input_shape = layer.compute_output_shape(input_shape)
        return input_shape

    @property
    def repeated_blocks(self) -> list[list[keras.layers.Layer]]:
        """Groups of blocks that compute the same function: a stage's but its first."""
        stages = [stage.modules[1:] for stage in self.stages]
        return [blocks for blocks in stages if len(blocks) > 1]


def deep_stem(width: int, *, dtype, name: str) -> Sequential:
    """Three 3 x 3 convolutions in place of one of 7 x 7."""
    modules = []
    for channels, stride in ((width, 2), (width, 1)):
        i = len(modules)
        modules += [
            conv(
                channels, 3, stride=stride, padding=1, dtype=dtype,
                name=str(i),
            ),
            BatchNorm2d(dtype=dtype, name=str(i + 1)),
            relu(str(i + 2), dtype),
        ]  # fmt: skip
    last = conv(2 * width, 3, padding=1, dtype=dtype, name="6")
    return Sequential([*modules, last], dtype=dtype, name=name)


def downsample_avg(out_channels: int, stride: int, *, dtype, name: str) -> Sequential:
    """A shortcut that averages before it projects; timm's function of that name."""
    pool = Identity(dtype=dtype, name="0")
    if stride > 1:  # padding, at the end of odd sizes, does not count in the average
        pool = keras.layers.AveragePooling2D(
            2, strides=stride, padding="same", data_format="channels_last", dtype=dtype,
            name="0",
        )  # fmt: skip
    project = conv(out_channels, 1, dtype=dtype, name="1")
    norm = BatchNorm2d(dtype=dtype, name="2")
    return Sequential([pool, project, norm], dtype=dtype, name=name)


def conv(planes: int, kernel_size: int, **kwargs) -> Conv2d:
    return Conv2d(
        planes, kernel_size, bias=False, kernel_initializer=FanOutNormal(), **kwargs
    )


def relu(name: str, dtype) -> keras.layers.Layer:
    return keras.layers.Activation(tf.nn.relu, dtype=dtype, name=name)
