"""Whose attention a map shows: the class token's, a patch's, or the patches' mean."""

import keras
import numpy as np

Query = str | tuple[int, int]
QUERIES = ("class", "distillation", "mean")


def attention_of(
    query: Query, attention: np.ndarray, model: keras.Model, grid: tuple[int, int]
) -> np.ndarray:
    """A row of attention, or the mean of rows, as an image of the patches.

    Prefix tokens (class, distillation, registers) are left out of the image.

    Args:
        query: "class", "distillation", "mean" over all patches, or the (row, column) of
            a patch on the grid.
        attention: (..., N, N), from each token to each.
        model: Whose attention it is.
        grid: Height and width of the patch grid.

    Returns:
        (..., height, width).

    Raises:
        ValueError: if there is no such token.
    """
    prefix = attention.shape[-1] - grid[0] * grid[1]
    if query == "mean":
        rows = attention[..., prefix:, :].mean(axis=-2)
    else:
        rows = attention[..., _index(query, model, prefix, grid), :]
    return rows[..., prefix:].reshape(*rows.shape[:-1], *grid)


def patch_index(query: tuple[int, int], grid: tuple[int, int]) -> int:
    """Which of the patches, row by row, is at (row, column).

    Raises:
        ValueError: if none is.
    """
    for place, size in zip(query, grid, strict=True):
        if not 0 <= place < size:
            raise ValueError(
                f"query={query}: expected a (row, column) on a grid of {grid[0]} x "
                f"{grid[1]} tokens"
            )
    return query[0] * grid[1] + query[1]


def _index(query: Query, model: keras.Model, prefix: int, grid: tuple[int, int]) -> int:
    if isinstance(query, tuple):
        return prefix + patch_index(query, grid)
    if query not in QUERIES:
        raise ValueError(
            f"query={query!r}: expected one of {QUERIES} or a (row, column)"
        )
    tokens = []  # those before the patches, in order
    if prefix and getattr(model, "class_token", True):
        tokens.append("class")
    if prefix and hasattr(model, "dist_token"):
        tokens.append("distillation")
    if query not in tokens:
        raise ValueError(
            f"query={query!r}: {type(model).__name__} has no {query} token among those "
            "that attend to the patches here; expected "
            f'{", ".join(map(repr, tokens)) or "no token"}, "mean" or a (row, column)'
        )
    return tokens.index(query)
