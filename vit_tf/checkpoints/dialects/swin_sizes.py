"""A Swin's buffers, compared with what the model computes for its sizes."""

import dataclasses
import math
import re
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from vit_tf.checkpoints.dialects import swin_buffers
from vit_tf.checkpoints.dialects.dialect import Tensors
from vit_tf.checkpoints.dialects.swin_buffers import Size
from vit_tf.checkpoints.errors import CheckpointError

INDEX = "attn.relative_position_index"
COORDS = "attn.relative_coords_table"
MASK = "attn_mask"
BUFFER = rf"layers\.\d+\.blocks\.\d+\.(?:{INDEX}|{COORDS}|{MASK})"
AXES = {INDEX: 2, COORDS: 4, MASK: 3}
CHECKED = "the model computes it from its sizes; it was compared with the file's"


def swin_sizes(
    tensors: Tensors,
    buffers: Mapping[str, str],
    patches: np.ndarray,
    stated: Mapping[str, Any] | None = None,
) -> dict[str, Any]:
    """Compares buffers, and tells the sizes that they are for.

    Args:
        tensors: The file's.
        buffers: Microsoft's name of a buffer, one that `BUFFER` fits -> the file's.
        patches: The weight of the patch embedding, (D, C, height, width).
        stated: The constructor's arguments that are known otherwise: `window_size`
            (one number), `img_size`, `pretrained_window_sizes`.

    Returns:
        Of these arguments those that are not known, and that buffers tell.

    Raises:
        CheckpointError: if one is not what timm's model computes for these sizes,
            listing all such.
    """
    stated = stated or {}
    found = sorted(
        (_buffer(name, source, tensors[source]) for name, source in buffers.items()),
        key=lambda buffer: (buffer.stage, buffer.block, buffer.kind),
    )
    _check_shapes(found, patches)
    patch_size = patches.shape[2:]
    sizes = _sizes(found, patch_size, stated)
    problems = [
        f"{b.source}: {tuple(b.array.shape)} found, another expected for windows of "
        f"{b.window_of(sizes)} tokens"
        for b in found
        if not _is_right(b, sizes)
    ]
    problems += _missing_masks(found, sizes)
    if problems:
        raise CheckpointError(
            "these buffers are not what timm's model computes:\n   "
            + "\n   ".join(problems)
        )
    told = _arguments(sizes, patch_size)
    return {name: value for name, value in told.items() if name not in stated}


@dataclasses.dataclass(frozen=True)
class _Sizes:
    windows: Mapping[int, Size]  # of a stage
    pretrained: Mapping[int, Size]
    resolution: Size | None  # of the first stage's feature map

    def resolution_of(self, stage: int) -> Size:
        return self.resolution[0] >> stage, self.resolution[1] >> stage


@dataclasses.dataclass(frozen=True)
class _Buffer:
    source: str  # the file's name
    stage: int
    block: int
    kind: str
    array: np.ndarray

    @property
    def window(self) -> Size:
        """The window that it is for, going by its shape; Microsoft's are square."""
        if self.kind == COORDS:
            return swin_buffers.window_of_coords(self.array)
        side = math.isqrt(self.array.shape[-1])
        return side, side

    def window_of(self, sizes: _Sizes) -> str:
        return "{} x {}".format(*sizes.windows[self.stage])

    def is_shifted(self, sizes: _Sizes) -> bool:
        if sizes.resolution is None or self.block % 2 == 0:
            return False
        resolution, window = sizes.resolution_of(self.stage), sizes.windows[self.stage]
        return any(size > side for size, side in zip(resolution, window, strict=True))


def _buffer(name: str, source: str, array: np.ndarray) -> _Buffer:
    match = re.fullmatch(r"layers\.(\d+)\.blocks\.(\d+)\.(.*)", name)
    return _Buffer(source, int(match[1]), int(match[2]), match[3], array)


def _check_shapes(found: Sequence[_Buffer], patches: np.ndarray) -> None:
    arrays = {b.source: (b.array, AXES[b.kind]) for b in found}
    arrays["the patch embedding"] = (patches, 4)
    if wrong := [
        f"{source}: shape {tuple(array.shape)} found, {axes} axes expected"
        for source, (array, axes) in arrays.items()
        if array.ndim != axes or not array.size
    ]:
        raise CheckpointError("\n".join(wrong))


def _sizes(
    found: Sequence[_Buffer], patch_size: Size, stated: Mapping[str, Any]
) -> _Sizes:
    """Those that are stated, and from the first buffer that tells them the others."""
    resolution = _resolution(found)
    if "img_size" in stated:
        size = stated["img_size"]
        height, width = (size, size) if isinstance(size, int) else size
        resolution = height // patch_size[0], width // patch_size[1]
    windows: dict[int, Size] = {}
    pretrained: dict[int, Size] = {}
    sizes = _Sizes(windows, pretrained, resolution)
    for buffer in found:
        window = buffer.window
        if "window_size" in stated and resolution:
            window = _fitted(stated["window_size"], sizes.resolution_of(buffer.stage))
        windows.setdefault(buffer.stage, window)
        if buffer.kind == COORDS:
            scale = swin_buffers.pretrained_window_of_coords(buffer.array)
            stated_scales = stated.get("pretrained_window_sizes", ())
            if buffer.stage < len(stated_scales):
                side = stated_scales[buffer.stage]
                scale = (side, side) if side else window
            pretrained.setdefault(buffer.stage, scale)
    return sizes


def _resolution(found: Sequence[_Buffer]) -> Size | None:
    """That of the first stage, which masks tell."""
    for buffer in found:
        if buffer.kind == MASK:
            size = swin_buffers.resolution_of_mask(buffer.array, buffer.window)
            if size:
                return size[0] << buffer.stage, size[1] << buffer.stage
    return None


def _fitted(window: int, resolution: Size) -> Size:
    """timm's windows are no larger than the feature map."""
    return min(window, resolution[0]), min(window, resolution[1])


def _is_right(buffer: _Buffer, sizes: _Sizes) -> bool:
    window = sizes.windows[buffer.stage]
    if buffer.kind == INDEX:
        expected = swin_buffers.relative_position_index(window)
    elif buffer.kind == COORDS:
        scale = sizes.pretrained[buffer.stage]
        expected = swin_buffers.relative_coords_table(window, scale)
    elif buffer.is_shifted(sizes):
        resolution = sizes.resolution_of(buffer.stage)
        if any(size % side for size, side in zip(resolution, window, strict=True)):
            return False
        expected = swin_buffers.attention_mask(resolution, window)
    else:
        return False  # a mask where nothing is shifted
    return swin_buffers.equal(buffer.array, expected)


def _missing_masks(found: Sequence[_Buffer], sizes: _Sizes) -> list[str]:
    """Of blocks that timm shifts and the file does not, though it has others' masks."""
    masked = {(b.stage, b.block) for b in found if b.kind == MASK}
    return [
        f"{b.source}: no {MASK} beside it found, one expected for windows of "
        f"{b.window_of(sizes)} tokens"
        for b in found
        if masked and b.kind == INDEX and b.is_shifted(sizes)
        if (b.stage, b.block) not in masked
    ]


def _arguments(sizes: _Sizes, patch_size: Size) -> dict[str, Any]:
    arguments: dict[str, Any] = {}
    if windows := sizes.windows:
        side = windows[min(windows)][0]
        fitted = {
            stage: _fitted(side, sizes.resolution_of(stage))
            if sizes.resolution
            else (side, side)
            for stage in windows
        }
        arguments["window_size"] = side if windows == fitted else (*windows.values(),)
    if sizes.pretrained:
        arguments["pretrained_window_sizes"] = tuple(
            0 if scale == windows[stage] else scale[0]
            for stage, scale in sizes.pretrained.items()
        )
    if sizes.resolution:
        height, width = (
            n * side for n, side in zip(sizes.resolution, patch_size, strict=True)
        )
        arguments["img_size"] = height if height == width else (height, width)
    return arguments
