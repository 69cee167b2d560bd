"""What all figures share: a bare figure, quiet axes, print sizes, how numbers are written."""

from matplotlib.axes import Axes
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure
from matplotlib.layout_engine import ConstrainedLayoutEngine
from matplotlib.typing import ColorType

from sakbench.plots.palette import FAINT, GRID, INK

COLUMN = 3.3  # inches: one column of a two-column page
PAGE = 7.0
SMALL, NORMAL = 7, 8  # points


def new_figure(width: float, height: float, gap: float = 0.08) -> Figure:
    """An empty white figure of that size that lays itself out, with a `gap` between its parts; all in inches."""
    layout = ConstrainedLayoutEngine(w_pad=gap / 2, h_pad=gap / 2, wspace=0, hspace=0)
    return Figure(figsize=(width, height), layout=layout, facecolor="white", dpi=150)


def quiet(axes: Axes) -> None:
    """Takes away whatever is not data: frame, ticks, all lines but a faint horizontal grid."""
    axes.spines[:].set_visible(False)
    axes.tick_params(length=0, labelsize=SMALL, colors=INK)
    axes.grid(axis="y", color=GRID, linewidth=0.6)
    axes.set_axisbelow(True)


def zero_line(axes: Axes) -> None:
    """A line where the values are those of the reference."""
    axes.axhline(0, color=FAINT, linewidth=0.8)


def signed(value: float, digits: int) -> str:
    """With its sign, except for a zero."""
    return f"{value:+.{digits}f}".replace("-", "−") if round(value, digits) else f"{0:.{digits}f}"


def readable_on(colour: ColorType) -> str:
    """White or ink, whichever stands out on `colour`."""
    red, green, blue = to_rgb(colour)
    return "white" if 0.3 * red + 0.59 * green + 0.11 * blue < 0.55 else INK
