"""A table as a picture."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.figure import Figure
from matplotlib.font_manager import FontProperties
from matplotlib.textpath import TextPath
from numpy.typing import ArrayLike

from sakbench.plots.palette import FAINT, GRID, INK
from sakbench.plots.style import NORMAL, SMALL, new_figure


def table(
    title: str,
    columns: Sequence[str],
    rows: Mapping[str, Sequence[str]],
    *,
    bold: ArrayLike | None = None,
    note: str = "",
) -> Figure:
    """A table as a picture, as large as its text needs.

    `rows` maps each row's name to its cells, which stand under `columns`, aligned to the right; `bold` (rows, columns)
    marks those to stand out. `note` may have several lines. Raises `ValueError` if a row has another number of cells.
    """
    for name, cells in rows.items():
        if len(cells) != len(columns):
            raise ValueError(f"the row {name} has {len(cells)} cells for {len(columns)} columns.")
    marked = np.zeros((len(rows), len(columns)), bool) if bold is None else np.asarray(bold, dtype=bool)
    line, gap, margin = 0.21, 0.22, 0.08  # inches
    names_width = max(map(_text_width, rows), default=0)
    widths = [max(map(_text_width, texts)) for texts in zip(columns, *rows.values(), strict=True)]
    rights = names_width + np.cumsum(np.array(widths) + gap)
    width = max(rights[-1], _text_width(title, NORMAL + 1), *map(_text_width, note.splitlines()))
    rights += width - rights[-1]
    lines = len(rows) + 2.4 + len(note.splitlines())

    figure = new_figure(width + 2 * margin, line * lines + 2 * margin)
    figure.set_layout_engine("none")
    axes = figure.add_axes((0, 0, 1, 1))
    axes.set_axis_off()
    axes.set(xlim=(-margin, width + margin), ylim=(lines + margin / line, -margin / line))

    def write(x: float, y: float, text: str, **style: Any) -> None:
        axes.text(x, y, text, va="center", **{"fontsize": NORMAL, "color": INK, **style})

    write(0, 0.5, title, fontsize=NORMAL + 1, weight="bold")
    for right, column in zip(rights, columns, strict=True):
        write(right, 1.7, column, color=FAINT, ha="right")
    axes.hlines(2.15, 0, width, color=INK, linewidth=0.8)
    for number, (name, cells) in enumerate(rows.items()):
        write(0, number + 2.7, name)
        for right, cell, strong in zip(rights, cells, marked[number], strict=True):
            write(right, number + 2.7, cell, ha="right", weight="bold" if strong else "normal")
        axes.hlines(number + 3.2, 0, width, color=GRID, linewidth=0.5)
    for number, sentence in enumerate(note.splitlines()):
        write(0, len(rows) + 2.8 + number, sentence, fontsize=SMALL, color=FAINT)
    return figure


def _text_width(text: str, size: float = NORMAL) -> float:
    """In inches, were it bold."""
    return TextPath((0, 0), text, size=size, prop=FontProperties(weight="bold")).get_extents().width / 72 if text else 0
