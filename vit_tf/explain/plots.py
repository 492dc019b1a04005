"""Pictures of what `vit_tf.explain` finds, as matplotlib figures.

Each function gives a `Figure`: `figure.savefig("maps.png")`; a notebook shows it.
"""

from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

CELL = 1.6  # inches of a picture among others
LEAST, MOST = 0.5, 0.9  # how much of the image a map hides, where it is low and high


def plot_attention_maps(
    image: np.ndarray,
    maps: np.ndarray,
    *,
    row_titles: Sequence[str] = (),
    column_titles: Sequence[str] = (),
) -> Figure:
    """Maps over an image: a row for each block, a column for each head.

    Each map has its own scale, from its smallest value to its largest.

    Args:
        image: (height, width, 3) or (height, width) or (height, width, 1), from 0 to 1
            or uint8; not preprocessed.
        maps: (rows, columns, H, W), or (columns, H, W) for one row.
        row_titles: One for each row, or none.
        column_titles: One for each column, or none.

    Raises:
        ValueError: if image or maps have other axes, or titles are missing.
    """
    rows = _maps(maps)
    _check_titles(row_titles, rows.shape[0], "row_titles")
    _check_titles(column_titles, rows.shape[1], "column_titles")
    image = _shown(image)
    figure, axes = _grid(*rows.shape[:2], image.shape[0] / image.shape[1])
    for i, j in np.ndindex(rows.shape[:2]):
        _overlay(axes[i, j], image, rows[i, j])
    _name(axes, row_titles, column_titles)
    return figure


def plot_saliency(
    image: np.ndarray, saliency: np.ndarray, *, titles: Sequence[str] = ()
) -> Figure:
    """An image, and beside it one or several maps over it.

    Args:
        image: As `plot_attention_maps` takes it.
        saliency: (H, W), or (maps, H, W).
        titles: One for each map, or none.

    Raises:
        ValueError: if image or maps have other axes, or titles are missing.
    """
    saliency = np.asarray(saliency)
    maps = _maps(saliency[None] if saliency.ndim == 2 else saliency)[0]
    _check_titles(titles, len(maps), "titles")
    image = _shown(image)
    figure, axes = _grid(1, 1 + len(maps), image.shape[0] / image.shape[1])
    axes[0, 0].imshow(image, cmap="gray", vmin=0, vmax=1)
    for axis, found in zip(axes[0, 1:], maps, strict=True):
        _overlay(axis, image, found)
    _name(axes, (), ("image", *titles) if titles else ())
    return figure


def plot_attention_distance(distances: np.ndarray) -> Figure:
    """Mean attention distances by depth: a dot for each head.

    "An Image is Worth 16x16 Words" (https://arxiv.org/abs/2010.11929), figure 11.

    Args:
        distances: (blocks, heads), or (B, blocks, heads), of which the mean is shown.

    Raises:
        ValueError: if they have other axes.
    """
    distances = np.asarray(distances)
    if distances.ndim == 3:
        distances = distances.mean(axis=0)
    if distances.ndim != 2:
        raise ValueError(
            f"distances: shape {distances.shape} found, (blocks, heads) expected"
        )
    figure = Figure(figsize=(4.5, 3), layout="constrained")
    axis = figure.subplots()
    for head, of_blocks in enumerate(distances.T):
        axis.plot(range(len(of_blocks)), of_blocks, "o", label=f"head {head}")
    axis.set_xticks(range(len(distances)))
    axis.set(xlabel="block", ylabel="mean attention distance (pixels)")
    axis.set_ylim(0, 1.1 * distances.max())
    if distances.shape[1] <= 6:
        axis.legend(fontsize="small")
    return figure


def plot_pos_embed_similarity(similarity: np.ndarray) -> Figure:
    """Position embeddings' similarities: an image for each patch, where the patch is.

    "An Image is Worth 16x16 Words" (https://arxiv.org/abs/2010.11929), figure 7.

    Args:
        similarity: (H, W, H, W).

    Raises:
        ValueError: if it has other axes.
    """
    similarity = np.asarray(similarity)
    grid = similarity.shape[:2]
    if similarity.ndim != 4 or similarity.shape[2:] != grid:
        raise ValueError(
            f"similarity: shape {similarity.shape} found, (H, W, H, W) expected"
        )
    figure, axes = _grid(*grid, grid[0] / grid[1], cell=0.5)
    for place in np.ndindex(grid):
        shown = axes[place].imshow(similarity[place], vmin=-1, vmax=1)
    figure.colorbar(shown, ax=axes, shrink=0.7, label="cosine similarity")
    return figure


def plot_patch_filters(filters: np.ndarray, *, columns: int = 8) -> Figure:
    """Filters as small images, each on its own scale, as probing-vits plots them.

    Args:
        filters: (filters, height, width, channels) with one channel or three.
        columns: How many side by side.

    Raises:
        ValueError: if they have other axes.
    """
    filters = np.asarray(filters)
    if filters.ndim != 4 or filters.shape[-1] not in (1, 3):
        raise ValueError(
            f"filters: shape {filters.shape} found, (filters, height, width, 1 or 3) "
            "expected"
        )
    rows = -(-len(filters) // columns)
    figure, axes = _grid(rows, columns, filters.shape[1] / filters.shape[2], cell=0.6)
    for axis, kernel in zip(axes.flat, filters, strict=False):
        scaled = _scaled(kernel)
        axis.imshow(scaled[..., 0] if scaled.shape[-1] == 1 else scaled, cmap="gray")
    for axis in axes.flat[len(filters) :]:
        axis.set_visible(False)
    return figure


def _grid(
    rows: int, columns: int, aspect: float, cell: float = CELL
) -> tuple[Figure, np.ndarray]:
    """Axes without ticks, (rows, columns), for images that are `aspect` as high."""
    size = (columns * cell + 0.4, rows * cell * aspect + 0.4)
    figure = Figure(figsize=size, layout="constrained")
    axes = figure.subplots(rows, columns, squeeze=False)
    for axis in axes.flat:
        axis.set(xticks=[], yticks=[])
    return figure, axes


def _overlay(axis: Axes, image: np.ndarray, found: np.ndarray) -> None:
    """A map's patches over the image that they are of, dark where the map is low."""
    height, width = image.shape[:2]
    axis.imshow(image, cmap="gray", vmin=0, vmax=1)
    extent = (-0.5, width - 0.5, height - 0.5, -0.5)
    alpha = LEAST + (MOST - LEAST) * _scaled(found)
    axis.imshow(found, cmap="inferno", alpha=alpha, extent=extent)


def _name(
    axes: np.ndarray, row_titles: Sequence[str], column_titles: Sequence[str]
) -> None:
    for axis, title in zip(axes[:, 0], row_titles, strict=False):
        axis.set_ylabel(title, fontsize="small")
    for axis, title in zip(axes[0], column_titles, strict=False):
        axis.set_title(title, fontsize="small")


def _maps(maps: np.ndarray) -> np.ndarray:
    maps = np.asarray(maps)
    if maps.ndim not in (3, 4):
        raise ValueError(
            f"maps: shape {maps.shape} found, (rows, columns, H, W) or (columns, H, W) "
            "expected: those of one image"
        )
    return maps if maps.ndim == 4 else maps[None]


def _shown(image: np.ndarray) -> np.ndarray:
    """An image from 0 to 1, (height, width) or (height, width, 3)."""
    image = np.asarray(image)
    if image.ndim == 3 and image.shape[-1] == 1:
        image = image[..., 0]
    if image.ndim not in (2, 3) or image.shape[2:] not in ((), (3,)):
        raise ValueError(
            f"image: shape {image.shape} found, (height, width) with or without 1 or 3 "
            "channels expected"
        )
    return image / 255 if image.dtype == np.uint8 else np.clip(image, 0, 1)


def _scaled(values: np.ndarray) -> np.ndarray:
    """From the smallest value, as 0, to the largest, as 1."""
    low, high = values.min(), values.max()
    return (values - low) / (high - low if high > low else 1)


def _check_titles(titles: Sequence[str], count: int, name: str) -> None:
    if titles and len(titles) != count:
        raise ValueError(f"{name}: {len(titles)} found, {count} expected, or none")
