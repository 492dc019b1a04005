"""What timm's evaluation transform depends on."""

import dataclasses
import math
import re
from collections.abc import Mapping, Sequence
from typing import Any

IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)
INTERPOLATIONS = ("bilinear", "bicubic", "lanczos")
CROP_MODES = ("center", "squash", "border")
PILLOWS = ("9.5", "12.2", "13.0")


@dataclasses.dataclass(frozen=True)
class DataConfig:
    """How images become what a model takes: timm's data configuration.

    The names and defaults are those of `timm.data.resolve_data_config`.

    Attributes:
        input_size: (channels, height, width) of what the model takes. Channels are 3,
            or 1 for grey images.
        interpolation: "bilinear", "bicubic" or "lanczos".
        mean: Of each channel, of pixels between 0 and 1.
        std: Likewise.
        crop_pct: The part of the resized image's edge that is kept.
        crop_mode: "center" (the shortest edge is fitted), "squash" (both are) or
            "border" (the longest is, and the rest is filled with the mean).
        pillow: Whose order of the two passes of a resize: "9.5" (until 12.1), "12.2"
            (and 12.3) or "13.0" (since). They differ on some tall images, by a few
            of 255 levels.

    Raises:
        ValueError: if a value is none of those; all that are not are listed.
    """

    input_size: tuple[int, int, int] = (3, 224, 224)
    interpolation: str = "bicubic"
    mean: tuple[float, ...] = IMAGENET_MEAN
    std: tuple[float, ...] = IMAGENET_STD
    crop_pct: float = 0.875
    crop_mode: str = "center"
    pillow: str = "13.0"

    def __post_init__(self) -> None:
        for name in ("input_size", "mean", "std"):
            if isinstance(getattr(self, name), Sequence):
                object.__setattr__(self, name, tuple(getattr(self, name)))
        if wrong := [
            f"{name}={getattr(self, name)!r} found, {text} expected"
            for name, (right, text) in self._expected().items()
            if not right
        ]:
            raise ValueError("\n".join(wrong))

    def _expected(self) -> dict[str, tuple[bool, str]]:
        """Whether each field is right, and what is."""
        sizes = self.input_size
        sized = _are(int, sizes, 3) and min(sizes) > 0 and sizes[0] in (1, 3)
        channels = sizes[0] if sized else 3
        numbers = f"as many numbers as channels, {channels},"
        deviations = _are((int, float), self.std, channels) and min(self.std) > 0
        edge = (
            min(sizes[1:]) if sized else math.inf
        )  # resized to floor(edge / crop_pct)
        part = _are((int, float), (self.crop_pct,), 1) and 0 < self.crop_pct <= edge
        return {
            "input_size": (sized, "(1 or 3, height, width)"),
            "interpolation": _one_of(INTERPOLATIONS, self.interpolation),
            "mean": (_are((int, float), self.mean, channels), numbers),
            "std": (deviations, f"{numbers} above 0,"),
            "crop_pct": (part, "a number above 0, and no more than an edge's pixels,"),
            "crop_mode": _one_of(CROP_MODES, self.crop_mode),
            "pillow": _one_of(PILLOWS, self.pillow),
        }

    @property
    def size(self) -> tuple[int, int]:
        """(height, width) of what the model takes."""
        return self.input_size[1:]

    def to_json(self) -> dict[str, Any]:
        return dataclasses.asdict(self)

    @staticmethod
    def from_json(values: Mapping[str, Any]) -> "DataConfig":
        """From a bundle's `config.json`, or what timm's `pretrained_cfg` says.

        What it does not say, or says to be `None`, nothing or 0, has timm's default, as
        in `resolve_data_config`; what it says beside is not read.
        """
        fields = {field.name for field in dataclasses.fields(DataConfig)}
        return DataConfig(**{k: v for k, v in values.items() if k in fields and v})


def pillow_of(version: str) -> str:
    """Whose order of passes a Pillow has: the entry of `PILLOWS`.

    Args:
        version: As in `PIL.__version__`.

    Raises:
        ValueError: if it is no version.
    """
    if not re.match(r"\d+\.\d+", version):
        raise ValueError(f"{version!r} found, a version such as '13.0.0' expected")
    until = [entry for entry in PILLOWS if _numbers(entry) <= _numbers(version)]
    return until[-1] if until else PILLOWS[0]


def _numbers(version: str) -> tuple[int, ...]:
    return tuple(int(number) for number in re.findall(r"\d+", version)[:2])


def _are(kind: type | tuple[type, ...], values: Any, count: int) -> bool:
    """Whether they are so many finite numbers."""
    return (
        isinstance(values, tuple)
        and len(values) == count
        and all(isinstance(value, kind) and math.isfinite(value) for value in values)
    )


def _one_of(known: tuple[str, ...], value: Any) -> tuple[bool, str]:
    return value in known, f"one of {known}"
