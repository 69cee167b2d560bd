"""What models make of counterfactual pairs: norms of tokens, their change, segmentations (paper Figure 6)."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType

import numpy as np
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.figure import Figure, SubFigure
from matplotlib.patches import Patch
from matplotlib.typing import ColorType
from numpy.typing import ArrayLike, NDArray

from sakbench.plots.palette import FAINT, INK
from sakbench.plots.style import NORMAL, PAGE, SMALL, new_figure

_NORMS, _CHANGES, _MARK = "viridis", "magma", "#ff5a36"
_BARS, _KEY = 0.75, 0.3  # inches beside and below the pictures


@dataclass(frozen=True, eq=False)
class Maps:
    """Of one model and pair: norms before and after, their change, which tokens are outliers (before, after), all
    (h, w), and the predictions as pictures uint8 (H, W, 3), if there are any.

    The tokens cover the share `extent` (height, width) of the picture.
    """

    before: ArrayLike
    after: ArrayLike
    change: ArrayLike
    outliers: tuple[ArrayLike, ArrayLike]
    predictions: tuple[ArrayLike, ArrayLike] | None = None
    extent: tuple[float, float] = (1.0, 1.0)


@dataclass(frozen=True, eq=False)
class View:
    """One pair: pictures uint8 (H, W, 3), the objects' mask (H, W), true labels as pictures, and the models' maps."""

    before: ArrayLike
    after: ArrayLike
    mask: ArrayLike
    truths: tuple[ArrayLike, ArrayLike]
    models: Mapping[str, Maps]


def norm_maps(
    views: Sequence[View],
    classes: tuple[str, str],
    key: Mapping[str, ColorType] = MappingProxyType({}),
    *,
    width: float = PAGE,
) -> Figure:
    """A block for each pair: the pictures in the first row, then a row for each model.

    Columns are before and after (named by the `classes`), their difference, and the segmentations where there are any;
    `key` tells what their colours mean. Norms have one colour scale per row, from the least to the greatest; changes
    one from 0. Objects are outlined, tokens that are outliers marked. Raises `ValueError` where models differ between
    pairs, or some have predictions and others none.
    """
    if not views:
        raise ValueError("there are no pictures to show.")
    names = list(views[0].models)
    asked = {maps.predictions is not None for view in views for maps in view.models.values()}
    if any(list(view.models) != names for view in views) or len(asked) != 1:
        raise ValueError("maps of the same models are needed for every pair, all with predictions or all without.")
    columns = 5 if asked == {True} else 3
    side = (width - _BARS - 0.2) / columns
    block = (1 + len(names)) * (side + 0.03) + 0.2
    figure = new_figure(width, block * len(views) + _KEY * bool(key), gap=0.024)
    parts = figure.subfigures(len(views), 1, squeeze=False)[:, 0]
    for part, view in zip(parts, views, strict=True):
        _block(part, view, classes, columns)
    if key:
        patches = [Patch(facecolor=colour, edgecolor=FAINT, linewidth=0.4) for colour in key.values()]
        look = {"ncols": min(len(key), 7), "fontsize": SMALL, "frameon": False, "handlelength": 1}
        figure.legend(patches, list(key), loc="outside lower center", **look)
    return figure


def _block(part: SubFigure, view: View, classes: tuple[str, str], columns: int) -> None:
    grid = part.subplots(1 + len(view.models), columns, squeeze=False)
    titles = [*classes, "difference", *(f"{name}: labels" for name in classes)][:columns]
    for axes, title in zip(grid[0], titles, strict=True):
        axes.set_title(title, fontsize=NORMAL, color=INK, pad=3, parse_math=False)  # a class may be called $x$
    before, after, mask = (np.asarray(one) for one in (view.before, view.after, view.mask))
    apart = np.abs(after.astype(int) - before.astype(int)).astype(np.uint8)
    pictures = [before, after, apart, *map(np.asarray, view.truths)]
    for axes, picture in zip(grid[0], pictures[:columns], strict=True):
        axes.imshow(picture, interpolation="nearest")
    grid[0, 0].set_ylabel("image", fontsize=NORMAL, color=INK, labelpad=3)
    for row, (name, maps) in zip(grid[1:], view.models.items(), strict=True):
        row[0].set_ylabel(name, fontsize=NORMAL, color=INK, labelpad=3)
        _row(row, maps, mask)
    for axes in grid.flat:
        axes.set(xticks=[], yticks=[])
        axes.spines[:].set_visible(False)
    half = (1 + len(grid)) // 2
    for colours, label, ends, beside in (
        (_NORMS, "norm of the token", ("least", "greatest"), grid[:half]),
        (_CHANGES, "change of the token", ("0", "greatest"), grid[half:]),
    ):
        scale = ScalarMappable(cmap=colours)
        bar = part.colorbar(scale, ax=beside, location="right", aspect=25, shrink=0.9, pad=0.01)
        bar.set_label(f"{label}, per row", fontsize=SMALL, color=INK)
        bar.set_ticks([0, 1], labels=list(ends), fontsize=SMALL)
        bar.ax.spines[:].set_visible(False)


def _row(row: Sequence[Axes], maps: Maps, mask: NDArray[np.generic]) -> None:
    height, width = mask.shape
    # Tokens lie where they are in the picture, whatever their number.
    bounds = (-0.5, maps.extent[1] * width - 0.5, maps.extent[0] * height - 0.5, -0.5)
    both = np.stack([np.asarray(maps.before, dtype=float), np.asarray(maps.after, dtype=float)])
    change = np.asarray(maps.change, dtype=float)
    for axes, values, colours, low, high in (
        (row[0], both[0], _NORMS, both.min(), both.max()),
        (row[1], both[1], _NORMS, both.min(), both.max()),
        (row[2], change, _CHANGES, 0.0, change.max()),
    ):
        axes.imshow(values, cmap=colours, vmin=low, vmax=high, interpolation="nearest", extent=bounds)
        axes.contour(mask != 0, levels=[0.5], colors="white", linewidths=0.6)
        axes.set(xlim=(-0.5, width - 0.5), ylim=(height - 0.5, -0.5))
    cells = maps.extent[0] * height / both.shape[1], maps.extent[1] * width / both.shape[2]
    for axes, marked in zip(row[:2], maps.outliers, strict=True):
        rows, columns = np.nonzero(np.asarray(marked))
        centres = (columns + 0.5) * cells[1] - 0.5, (rows + 0.5) * cells[0] - 0.5
        axes.scatter(*centres, s=14, marker="o", facecolors="none", edgecolors=_MARK, linewidths=0.8)
    if maps.predictions is not None:
        for axes, picture in zip(row[3:], maps.predictions, strict=True):
            axes.imshow(np.asarray(picture), interpolation="nearest")
            axes.contour(mask != 0, levels=[0.5], colors="white", linewidths=0.6)
