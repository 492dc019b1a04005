"""How large the windows of each stage are."""

from vit_tf.layers.patch_embed import pair

WindowSize = int | tuple[int | tuple[int, int], ...]


def stage_window_sizes(
    window_size: WindowSize, num_stages: int
) -> tuple[tuple[int, int], ...]:
    """A window's height and width for each stage; timm's `resolve_stage_window_sizes`.

    Raises:
        ValueError: if there is not one for each stage, or one is empty.
    """
    sizes = window_size
    is_pair = isinstance(sizes, tuple) and len(sizes) == 2 and isinstance(sizes[0], int)
    if isinstance(sizes, int) or is_pair:
        sizes = (sizes,) * num_stages
    sizes = tuple(pair(size) for size in sizes)
    if len(sizes) != num_stages or any(size < 1 for window in sizes for size in window):
        raise ValueError(
            f"window_size={window_size}: expected windows of 1 token or more, one for "
            f"all or for each of {num_stages} stages"
        )
    return sizes


def fitted_window_sizes(
    windows: tuple[tuple[int, int], ...], grid_size: tuple[int, int]
) -> tuple[tuple[int, int], ...]:
    """Windows as large as each stage's feature map at most, if they were larger.

    Args:
        windows: Each stage's window (see `stage_window_sizes`).
        grid_size: Height and width of the patch grid, which every further stage halves.
    """
    fitted, resolution = [], grid_size
    for window in windows:
        fitted.append(tuple(map(min, window, resolution)))
        resolution = tuple((size + 1) // 2 for size in resolution)
    return tuple(fitted)


def calc_stage_window_sizes(
    grid_size: tuple[int, int],
    ref_window_sizes: tuple[tuple[int, int], ...],
    ref_grid_size: tuple[int, int],
    *,
    window_ratio: int | tuple[int, ...] | None = None,
) -> tuple[tuple[int, int], ...]:
    """The `window_size` that timm's `set_input_size` derives for another image size.

    There it changes a model; here it is an argument of another one's constructor.

    Args:
        grid_size: Height and width of the new patch grid: of the image, in patches.
        ref_window_sizes: Each stage's window so far (see `stage_window_sizes`).
        ref_grid_size: The patch grid so far.
        window_ratio: What the new grid is divided by, for all stages or for each; if
            None, windows grow as the grid does.

    Raises:
        ValueError: if there is not a ratio for each stage.
    """
    if window_ratio is None:
        return tuple(
            tuple(
                max(1, window * new // old)
                for window, new, old in zip(
                    windows, grid_size, ref_grid_size, strict=True
                )
            )
            for windows in ref_window_sizes
        )
    ratios = window_ratio
    if isinstance(ratios, int):
        ratios = (ratios,) * len(ref_window_sizes)
    if len(ratios) != len(ref_window_sizes) or min(ratios) < 1:
        raise ValueError(
            f"window_ratio={window_ratio}: expected 1 or more, one for all or for each "
            f"of {len(ref_window_sizes)} stages"
        )
    return tuple(tuple(max(1, size // r) for size in grid_size) for r in ratios)
