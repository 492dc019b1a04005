"""What timm's evaluation transform depends on."""

import dataclasses
from collections.abc import Mapping
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
            object.__setattr__(self, name, tuple(getattr(self, name)))
        channels = self.input_size[0] if len(self.input_size) == 3 else None
        expected = {
            "input_size": (
                channels in (1, 3) and min(self.input_size) > 0,
                "(1 or 3, height, width)",
            ),
            "interpolation": (self.interpolation in INTERPOLATIONS, INTERPOLATIONS),
            "mean": (len(self.mean) == channels, f"{channels} numbers"),
            "std": (
                len(self.std) == channels and all(self.std),
                f"{channels} numbers, none zero",
            ),
            "crop_pct": (self.crop_pct > 0, "more than 0"),
            "crop_mode": (self.crop_mode in CROP_MODES, CROP_MODES),
            "pillow": (self.pillow in PILLOWS, PILLOWS),
        }
        if wrong := [
            f"{name}={getattr(self, name)!r} found, {text} expected"
            for name, (right, text) in expected.items()
            if not right
        ]:
            raise ValueError("\n".join(wrong))

    @property
    def size(self) -> tuple[int, int]:
        """(height, width) of what the model takes."""
        return self.input_size[1:]

    def to_json(self) -> dict[str, Any]:
        return dataclasses.asdict(self)

    @staticmethod
    def from_json(values: Mapping[str, Any]) -> "DataConfig":
        """From a bundle's `config.json`, or what timm's `pretrained_cfg` says.

        What it does not say has timm's default; what it says beside is not read.
        """
        fields = {field.name for field in dataclasses.fields(DataConfig)}
        known = {k: v for k, v in values.items() if k in fields and v is not None}
        return DataConfig(**known)
