"""Sheets of pictures: scenes, and what models see in them."""

from collections.abc import Mapping, Sequence
from math import ceil
from types import MappingProxyType

import numpy as np
from matplotlib.figure import Figure
from matplotlib.patches import Patch
from matplotlib.typing import ColorType
from numpy.typing import ArrayLike

from sakbench.plots.palette import FAINT, INK
from sakbench.plots.style import NORMAL, PAGE, SMALL, new_figure

_KEYS_A_LINE = 8


def scenes_sheet(pictures: Mapping[str, ArrayLike], width: float = PAGE) -> Figure:
    """Pictures side by side: a column per kind (image, semseg, ...), a row per scene.

    `pictures` maps a column's title to uint8 (n, H, W, 3), the same n everywhere; sizes may differ between columns.
    Raises `ValueError` for other shapes.
    """
    columns = {title: np.asarray(images) for title, images in pictures.items()}
    rows = len(next(iter(columns.values()), ()))
    for title, images in columns.items():
        if images.ndim != 4 or images.shape[-1] != 3 or len(images) != rows:
            raise ValueError(
                f"the pictures of {title} have shape {images.shape}: ({rows}, height, width, 3) is needed."
            )
    if not rows:
        raise ValueError("there are no pictures to show.")
    side = width / len(columns)
    figure = new_figure(width, side * rows + 0.16, gap=0.024)
    grid = figure.subplots(rows, len(columns), squeeze=False)
    for column, (title, images) in enumerate(columns.items()):
        grid[0, column].set_title(title, fontsize=NORMAL, color=INK, pad=3, parse_math=False)
        for row in range(rows):
            grid[row, column].imshow(images[row], interpolation="nearest")
            grid[row, column].set_axis_off()
    return figure


def comparison_sheet(
    columns: Sequence[str],
    blocks: Mapping[str, Mapping[str, Sequence[ArrayLike | None]]],
    keys: Mapping[str, Mapping[str, ColorType]] = MappingProxyType({}),
    *,
    width: float = PAGE,
) -> Figure:
    """What models see in the same scenes (paper Figures 1 right, 9 to 11): a block per scene, a row per task.

    `columns` are the titles (image, ground truth, models); `blocks` maps a scene's title to its rows, and a row's name
    to one uint8 (H, W, 3) for each column, None where there is none; `keys` maps it to what its colours mean. Raises
    `ValueError` for another number of pictures.
    """
    for title, rows in blocks.items():
        for name, pictures in rows.items():
            if len(pictures) != len(columns):
                raise ValueError(f"{name} of {title} has {len(pictures)} pictures: {len(columns)} columns is needed.")
    if not blocks:
        raise ValueError("there are no pictures to show.")
    side = (width - 0.2) / len(columns)  # beside the rows' names
    heights = [
        0.4 + side * len(rows) + 0.16 * ceil(len(keys.get(title, ())) / _KEYS_A_LINE) for title, rows in blocks.items()
    ]
    figure = new_figure(width, sum(heights), gap=0.024)
    parts = figure.subfigures(len(blocks), 1, squeeze=False, height_ratios=heights)
    for part, (title, rows) in zip(parts[:, 0], blocks.items(), strict=True):
        part.suptitle(title, fontsize=NORMAL, color=FAINT, x=0.01, ha="left")
        grid = part.subplots(len(rows), len(columns), squeeze=False)
        for axes, column in zip(grid[0], columns, strict=True):
            axes.set_title(column, fontsize=NORMAL, color=INK, pad=3)
        for line, (name, pictures) in zip(grid, rows.items(), strict=True):
            line[0].set_ylabel(name, fontsize=NORMAL, color=INK, labelpad=3)
            for axes, picture in zip(line, pictures, strict=True):
                axes.set(xticks=[], yticks=[])
                axes.spines[:].set_visible(False)
                if picture is not None:
                    axes.imshow(np.asarray(picture), interpolation="nearest")
        if key := keys.get(title):
            patches = [Patch(facecolor=colour, edgecolor=FAINT, linewidth=0.4) for colour in key.values()]
            look = {"ncols": _KEYS_A_LINE, "fontsize": SMALL, "frameon": False, "handlelength": 1}
            part.legend(patches, list(key), loc="outside lower left", **look)
    return figure
