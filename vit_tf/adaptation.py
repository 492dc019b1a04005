"""A checkpoint made for one model, changed for another of the same architecture.

timm's way, and timm's result: position embeddings and tables are interpolated, the
first convolution's channels summed or repeated, patches resized, heads drawn anew.
"""

import functools
import math
import re
import zlib
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from vit_tf.checkpoints.edits import Edit, EditedTensors, unchanged
from vit_tf.checkpoints.errors import CheckpointError
from vit_tf.checkpoints.input_conv import adapt_input_conv
from vit_tf.checkpoints.patch_embed import resample_patch_embed, unflatten
from vit_tf.checkpoints.pos_embed import resample_abs_pos_embed
from vit_tf.checkpoints.rel_pos_bias import resize_rel_pos_bias_table
from vit_tf.checkpoints.tensor_names import (
    BIAS_TABLE,
    PATCHES,
    POSITIONS,
    classifiers,
    first_conv,
    num_embedded_prefix,
)
from vit_tf.layers.initializers import Normal
from vit_tf.layers.patch_embed import pair
from vit_tf.layers.window_sizes import fitted_window_sizes, stage_window_sizes
from vit_tf.models.vision_transformer_hybrid import feature_size

Tensors = Mapping[str, np.ndarray]  # a whole checkpoint: timm name -> array
Arguments = Mapping[str, Any]  # a model's constructor arguments
TABLES = re.compile(r"layers\.(\d+)\.blocks\.\d+\.attn" + re.escape(BIAS_TABLE) + "$")
Changes = dict[str, Edit | None]  # a tensor's name -> how it is made; None: left out


def adapt(
    tensors: Tensors,
    stored: Arguments,
    wanted: Arguments,
    model_class: str,
    *,
    seed: int = 0,
) -> tuple[Tensors, list[str]]:
    """A checkpoint's tensors for a model of other images, patches or classes.

    What is adapted: `img_size`, `in_chans`, `num_classes`, `patch_size`, and Swin's
    `window_size`. Swin V2's position bias is computed for any window: its tensors stay
    what they are.

    Args:
        tensors: timm name -> array.
        stored: Constructor arguments of the model that they were made for, as far as
            known; what is missing there is as in `wanted`, or as shapes tell.
        wanted: All those of the model that they are for.
        model_class: Their class, as a configuration names it.
        seed: What a new head is drawn from, with its name.

    Returns:
        name -> array, made when asked for, and a note on each change. Where there is
        nothing to change, `tensors` itself and no note.

    Raises:
        CheckpointError: if a position embedding or a table is for no grid or window
            that is known.
    """
    stored = {**wanted, **stored}
    steps: list[Callable[..., tuple[Changes, list[str]]]] = [
        functools.partial(_positions, model_class=model_class),
        _patches,
        _channels,
        _windows,
        functools.partial(_classes, heads=classifiers(model_class), seed=seed),
    ]
    notes = []
    for step in steps:
        changes, said = step(tensors, stored, wanted)
        notes += said
        if changes:
            edits = {name: Edit((name,)) for name in tensors} | changes
            tensors = EditedTensors(tensors, {n: e for n, e in edits.items() if e})
    return tensors, notes


def _positions(
    tensors: Tensors, stored: Arguments, wanted: Arguments, *, model_class: str
) -> tuple[Changes, list[str]]:
    if not _has_axes(tensors, POSITIONS, 3):
        return {}, []
    if wanted.get("class_token") and "cls_token" not in tensors:
        return {}, []  # the mapping says what is missing
    prefix = num_embedded_prefix(wanted, model_class)
    count = tensors[POSITIONS].shape[1] - prefix
    new = _grid(wanted)
    old = _old_grid(count, tensors, stored, new)
    if old == new:
        return {}, []
    make = functools.partial(
        resample_abs_pos_embed, new_size=new, old_size=old, num_prefix_tokens=prefix
    )
    note = f"{POSITIONS}: {_size(old)} -> {_size(new)} patches, bicubic"
    return {POSITIONS: Edit((POSITIONS,), make)}, [note]


def _patches(
    tensors: Tensors, stored: Arguments, wanted: Arguments
) -> tuple[Changes, list[str]]:
    if not _has_axes(tensors, PATCHES, 2, 4):
        return {}, []
    make, said = unchanged, []
    new, old = pair(wanted["patch_size"]), tensors[PATCHES].shape[2:]
    if len(old) < 2:
        old = pair(stored["patch_size"])
        make = functools.partial(unflatten, patch_size=old)
        said.append(f"{PATCHES}: a linear projection -> patches of {_size(old)}")
    if tuple(old) != new:
        make = functools.partial(_resized_patches, flat=make, new_size=new)
        said.append(
            f"{PATCHES}: {_size(old)} -> {_size(new)} pixels, pseudo-inverse of bicubic"
        )
    return ({PATCHES: Edit((PATCHES,), make)} if said else {}), said


def _resized_patches(
    weight: np.ndarray,
    flat: Callable[[np.ndarray], np.ndarray],
    new_size: tuple[int, int],
) -> np.ndarray:
    return resample_patch_embed(flat(weight), new_size)


def _channels(
    tensors: Tensors, stored: Arguments, wanted: Arguments
) -> tuple[Changes, list[str]]:
    name, new = first_conv(tensors), wanted["in_chans"]
    if not _has_axes(tensors, name, 4) or tensors[name].shape[1] == new:
        return {}, []
    old = tensors[name].shape[1]
    how = "summed" if new == 1 else f"in turn, times {old}/{new}"
    make = functools.partial(adapt_input_conv, new)
    return {name: Edit((name,), make)}, [f"{name}: {old} -> {new} channels, {how}"]


def _windows(
    tensors: Tensors, stored: Arguments, wanted: Arguments
) -> tuple[Changes, list[str]]:
    stages = {name: int(found[1]) for name in tensors if (found := TABLES.match(name))}
    if not stages or "window_size" not in wanted:
        return {}, []
    changes: Changes = {}
    said: dict[str, None] = {}  # each once: the blocks of a stage have the same window
    problems = []
    stored_windows, new_windows = _window_sizes(stored), _window_sizes(wanted)
    for name, stage in stages.items():
        if stage >= len(new_windows) or not _has_axes(tensors, name, 2):
            continue
        positions = tensors[name].shape[0]
        new = new_windows[stage]
        old = _old_window(positions, stored_windows[stage], new)
        if old is None:
            known = _size(stored_windows[stage])
            problems.append(f"{name} has {positions} rows, a window of {known} others")
        elif old != new:
            make = functools.partial(
                resize_rel_pos_bias_table, new_window_size=new, old_window_size=old
            )
            changes[name] = Edit((name,), make)
            said[
                f"layers.{stage}: tables of position biases for windows of "
                f"{_size(old)} -> {_size(new)}, linear in geometric steps"
            ] = None
    if problems:
        raise CheckpointError(
            f"{'; '.join(problems)}; expected: square windows, or the window_size and "
            "img_size that the checkpoint was made for"
        )
    return changes, list(said)


def _classes(
    tensors: Tensors,
    stored: Arguments,
    wanted: Arguments,
    *,
    heads: tuple[str, ...],
    seed: int,
) -> tuple[Changes, list[str]]:
    changes: Changes = {}
    said = []
    new = wanted["num_classes"]
    for head in heads:
        weight, bias = f"{head}.weight", f"{head}.bias"
        there = _has_axes(tensors, weight, 2)
        if weight in tensors and not there:
            continue
        old = tensors[weight].shape[0] if there else stored["num_classes"]
        if old == new:
            continue
        if not new:
            changes |= {name: None for name in (weight, bias) if name in tensors}
            said.append(f"{head}: {old} classes left out")
            continue
        width = tensors[weight].shape[1] if there else _num_features(wanted)
        make = functools.partial(
            _drawn, (new, width), [seed, zlib.crc32(head.encode())]
        )
        changes[weight] = Edit((), make)
        changes[bias] = Edit((), functools.partial(np.zeros, new, np.float32))
        said.append(
            f"{head}: {old} -> {new} classes, drawn anew (seed {seed}): to be trained"
        )
    return changes, said


def _drawn(shape: tuple[int, int], seed: list[int]) -> np.ndarray:
    """A classifier's weight as a new model has it."""
    values = np.random.default_rng(seed).standard_normal(shape, np.float32)
    return values * np.float32(Normal().stddev)


def _has_axes(tensors: Tensors, name: str, *axes: int) -> bool:
    """Whether it is there and has so many; `assign` lists what has not."""
    return name in tensors and len(tensors[name].shape) in axes


def _grid(arguments: Arguments) -> tuple[int, int]:
    """Height and width of a model's grid, in patches."""
    size = pair(arguments["img_size"])
    if "backbone" in arguments:
        size = feature_size(size, arguments["backbone"], arguments["backbone_layers"])
    height, width = pair(arguments["patch_size"])
    return size[0] // height, size[1] // width


def _old_grid(
    count: int, tensors: Tensors, stored: Arguments, new: tuple[int, int]
) -> tuple[int, int]:
    """The grid of so many patches: the one that is stated, else a square."""
    patch = tensors[PATCHES].shape[2:] if PATCHES in tensors else ()
    known = _grid({**stored, "patch_size": patch} if len(patch) == 2 else stored)
    side = math.isqrt(max(count, 0))
    for grid in (known, new, (side, side)):
        if math.prod(grid) == count:
            return grid
    raise CheckpointError(
        f"{POSITIONS}: {count} patches found, which are neither a square nor the "
        f"{_size(known)} of img_size={stored['img_size']}; expected: the img_size that "
        "the checkpoint was made for"
    )


def _old_window(
    positions: int, known: tuple[int, int], new: tuple[int, int]
) -> tuple[int, int] | None:
    """The window of so many relative positions: the one stated, else a square."""
    side = (math.isqrt(positions) + 1) // 2
    for window in (known, (side, side), new):
        if math.prod(2 * size - 1 for size in window) == positions:
            return window
    return None


def _window_sizes(arguments: Arguments) -> tuple[tuple[int, int], ...]:
    """Each stage's window, as large as its feature map at most."""
    windows = stage_window_sizes(arguments["window_size"], len(arguments["depths"]))
    if arguments["always_partition"]:
        return windows
    return fitted_window_sizes(windows, _grid(arguments))


def _num_features(arguments: Arguments) -> int:
    """How many features the classifier sees."""
    stages = len(arguments.get("depths", (1,)))
    width = arguments["embed_dim"] * 2 ** (stages - 1)
    return 2 * width if arguments["global_pool"] == "catavgmax" else width


def _size(size: tuple[int, int]) -> str:
    return f"{size[0]} x {size[1]}"
