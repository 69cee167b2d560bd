"""Norm maps of counterfactual pairs, model by model (paper Figure 6)."""

from collections.abc import Mapping

import numpy as np
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.figure import Figure
from numpy.typing import ArrayLike

from sakbench.plots.palette import INK
from sakbench.plots.style import NORMAL, PAGE, SMALL, new_figure

_NORMS, _CHANGES = "viridis", "magma"


def norm_maps(
    images: Mapping[str, ArrayLike],
    models: Mapping[str, tuple[ArrayLike, ArrayLike, ArrayLike]],
    *,
    width: float = PAGE,
) -> Figure:
    """Per pair three rows: the original, the counterfactual, the difference; the image, then a column per model.

    `images` maps the two pictures' names to uint8 (n, H, W, 3); `models` maps a model to its norms before and after and
    to the change of its tokens, each (n, h, w). Norms have one colour scale per model and pair, from the least to the
    greatest; changes one per model, from 0. Raises `ValueError` where the pairs differ in number.
    """
    (first, second), pictures = images.keys(), [np.asarray(one) for one in images.values()]
    count, columns = len(pictures[0]), 1 + len(models)
    for model, maps in models.items():
        if {len(np.asarray(one)) for one in maps} != {count}:
            raise ValueError(
                f"maps of {count} pairs are needed, before and after and of the change: {model} has others."
            )
    side = (width - 1.25) / columns  # beside the rows' names and the bars
    figure = new_figure(width, 3 * count * (side + 0.04) + 0.5, gap=0.03)
    grid = figure.subplots(3 * count, columns, squeeze=False)
    for axes, title in zip(grid[0], ("image", *models), strict=True):
        axes.set_title(title, fontsize=NORMAL, color=INK, pad=3)
    for pair in range(count):
        rows = grid[3 * pair : 3 * pair + 3]
        for row, name in zip(rows, (first, second, "difference"), strict=True):
            row[0].set_ylabel(name, fontsize=SMALL, color=INK, labelpad=3)
        apart = np.abs(pictures[1][pair].astype(int) - pictures[0][pair].astype(int)).astype(np.uint8)
        for row, picture in zip(rows, (pictures[0][pair], pictures[1][pair], apart), strict=True):
            row[0].imshow(picture, interpolation="nearest")
        for column, maps in enumerate(models.values(), start=1):
            before, after, change = (np.asarray(one, dtype=float) for one in maps)
            both = np.stack([before[pair], after[pair]])
            for row, values in zip(rows[:2], both, strict=True):
                _show(row[column], values, _NORMS, both.min(), both.max())
            _show(rows[2][column], change[pair], _CHANGES, 0.0, change.max())
    for axes in grid.flat:
        axes.set(xticks=[], yticks=[])
        axes.spines[:].set_visible(False)
    half = (3 * count + 1) // 2
    for colours, label, ends, beside in (
        (_NORMS, "token norm, per model and pair", ("least", "greatest"), grid[:half]),
        (_CHANGES, "change of the token, per model", ("0", "greatest"), grid[half:]),
    ):
        bar = figure.colorbar(
            ScalarMappable(cmap=colours), ax=beside, location="right", aspect=30, shrink=0.9, pad=0.01
        )
        bar.set_label(label, fontsize=SMALL, color=INK)
        bar.set_ticks([0, 1], labels=list(ends), fontsize=SMALL)
        bar.ax.spines[:].set_visible(False)
    return figure


def _show(axes: Axes, values: np.ndarray, colours: str, low: float, high: float) -> None:
    axes.imshow(values, cmap=colours, vmin=low, vmax=high, interpolation="nearest")
