"""The original preprocessing: Pillow's decoder, and timm's transform."""

import dataclasses
import functools
import io
from collections.abc import Callable, Iterable

import numpy as np
import PIL
from PIL import Image

from tests.images import Sample
from tests.pillow_resize import resized, rows_first
from vit_tf.preprocessing import DataConfig
from vit_tf.preprocessing.data_config import pillow_of
from vit_tf.reference import timm, torch

# Pillow resizes the whole image before it is cropped: a long one to gigabytes. There
# `pillow_resize` takes its place, which `test_preprocessing_pillow.py` holds to it.
MOST_PIXELS = 2**24


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


@functools.cache
def timm_transform(data: DataConfig, **options: bool) -> Callable[..., torch.Tensor]:
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
    if is_long(sample, data):
        return normalised(seen(sample, data), data)
    return timm_transform(data)(decoded(sample)).permute(1, 2, 0).numpy()


def normalised(image: np.ndarray, data: DataConfig) -> np.ndarray:
    """What the last steps of timm's transform make of (height, width, 3) uint8."""
    *_, to_tensor, normalise = timm_transform(data).transforms
    return normalise(to_tensor(image)).permute(1, 2, 0).numpy()


def resized_size(size: tuple[int, int], data: DataConfig) -> tuple[int, int]:
    """(height, width) of an image, and of what timm's first step makes of it."""
    resize = timm_transform(data).transforms[0]
    if hasattr(resize, "get_params"):
        image = torch.empty((1, *size), device="meta")
        return tuple(resize.get_params(image, resize.size, resize.longest))
    if isinstance(resize.size, int):
        torchvision = timm.data.transforms.F  # needs what vit_tf.reference declares
        return tuple(torchvision._compute_resized_output_size(size, [resize.size]))
    return tuple(resize.size)


def seen(sample: Sample, data: DataConfig) -> np.ndarray:
    """What timm's transform sees of a file, (height, width, channels) uint8."""
    image = decoded(sample)
    if not is_long(sample, data):
        transform = timm_transform(data, normalize=False)
        return transform(image).permute(1, 2, 0).numpy()
    return _window(np.asarray(image), data)


def _window(pixels: np.ndarray, data: DataConfig) -> np.ndarray:
    """Of a long image, as `pillow_resize` makes it."""
    size = resized_size(pixels.shape[:2], data)
    window = tuple(map(_kept, size, data.size))
    first = rows_first(pillow_of(PIL.__version__), pixels.shape[:2], size)
    made = resized(pixels, size, data.interpolation, rows_first=first, window=window)
    _, center_crop, *_ = timm_transform(data).transforms
    made = torch.from_numpy(made).permute(2, 0, 1)
    return center_crop(made).permute(1, 2, 0).numpy()


def _kept(edge: int, kept: int) -> range:
    """What `CenterCrop` keeps of an edge."""
    start = max(round((edge - kept) / 2.0), 0)
    return range(start, start + min(edge, kept))


def is_long(sample: Sample, data: DataConfig) -> bool:
    """Whether Pillow would resize it to more than `MOST_PIXELS`."""
    image = decoded(sample)
    height, width = resized_size((image.height, image.width), data)
    return height * width >= MOST_PIXELS


def refused(sample: Sample, data: DataConfig) -> bool:
    """Whether nothing would be left of an edge, which Pillow refuses."""
    image = decoded(sample)
    return min(resized_size((image.height, image.width), data)) == 0


def of_each_size(number: int, chosen: Iterable[Sample]) -> list[Sample]:
    """One image of each height and width, another one for another number."""
    by_size: dict[tuple[int, ...], list[Sample]] = {}
    for sample in chosen:
        by_size.setdefault(pixels(sample).shape, []).append(sample)
    return [equal[number % len(equal)] for equal in by_size.values()]
