"""The original preprocessing: Pillow's decoder, and timm's transform."""

import dataclasses
import functools
import io

import numpy as np
from PIL import Image

from tests.images import Sample, samples
from vit_tf.preprocessing import DataConfig
from vit_tf.reference import timm

# Pillow resizes the whole image before it is cropped: of a long one to gigabytes.
MOST_PIXELS = 2**25


@functools.cache
def pretrained_cfgs() -> dict[str, dict]:
    """timm's, by the names of its pretrained models."""
    names = timm.list_pretrained()
    return {name: timm.get_pretrained_cfg(name).to_dict() for name in names}


@functools.cache
def preprocessings() -> tuple[DataConfig, ...]:
    """Every distinct one among timm's pretrained models."""
    distinct = {DataConfig.from_json(cfg) for cfg in pretrained_cfgs().values()}
    return tuple(sorted(distinct, key=dataclasses.astuple))


@functools.cache
def geometries() -> tuple[DataConfig, ...]:
    """One preprocessing for each way to resize, to crop and to fill."""
    ways = {(*fields(data), filled(data)): data for data in preprocessings()}
    return tuple(ways.values())


def fields(data: DataConfig) -> tuple[object, ...]:
    return data.size, data.interpolation, data.crop_pct, data.crop_mode


def filled(data: DataConfig) -> tuple[float, ...]:
    return data.mean if data.crop_mode == "border" else ()


def label(data: DataConfig) -> str:
    """As a test's name."""
    size, *rest = fields(data)
    return "-".join(map(str, (*size, *rest)))


def timm_transform(data: DataConfig, **options: bool):
    """timm's own, from a Pillow image to a tensor of (channels, height, width)."""
    arguments = dataclasses.asdict(data)
    del arguments["pillow"]
    return timm.data.create_transform(**arguments, is_training=False, **options)


@functools.cache
def decoded(sample: Sample, mode: str = "RGB") -> Image.Image:
    return Image.open(io.BytesIO(sample.encoded)).convert(mode)


def pixels(sample: Sample) -> np.ndarray:
    """(H, W, 3) uint8."""
    return np.asarray(decoded(sample))


def expected(sample: Sample, data: DataConfig) -> np.ndarray:
    """What timm's transform makes of a file, (height, width, channels) float32."""
    return timm_transform(data)(decoded(sample)).permute(1, 2, 0).numpy()


def seen_by(data: DataConfig) -> tuple[Sample, ...]:
    """The images that Pillow can resize within `MOST_PIXELS`, and those it refuses."""
    return tuple(sample for sample in samples() if _resized(sample, data) < MOST_PIXELS)


def refused(sample: Sample, data: DataConfig) -> bool:
    """Whether nothing would be left of an edge: Pillow raises ValueError."""
    size = decoded(sample).size
    return data.crop_mode == "border" and (
        round(min(size) * data.size[0] / data.crop_pct / max(size)) == 0
    )


def _resized(sample: Sample, data: DataConfig) -> float:
    """About how many pixels the whole resized image has."""
    width, height = decoded(sample).size
    ratios = data.size[0] / height, data.size[1] / width
    if data.crop_mode == "center":
        return max(ratios) ** 2 * height * width / data.crop_pct**2
    return data.size[0] * data.size[1] / data.crop_pct**2
