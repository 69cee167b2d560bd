"""The figures. Each takes arrays and gives a `Figure`; `figure.savefig(path)` writes it."""

from sakbench.plots.curves import Curve, curves
from sakbench.plots.gates import gates
from sakbench.plots.methods import Gains, methods
from sakbench.plots.norm_maps import Maps, View, norm_maps
from sakbench.plots.pictures import comparison_sheet, scenes_sheet
from sakbench.plots.points import points
from sakbench.plots.precision_recall import precision_recall
from sakbench.plots.profile import bias_profile, radar
from sakbench.plots.similarity import similarity
from sakbench.plots.tables import table

__all__ = [
    "Curve",
    "Gains",
    "Maps",
    "View",
    "bias_profile",
    "comparison_sheet",
    "curves",
    "gates",
    "methods",
    "norm_maps",
    "points",
    "precision_recall",
    "radar",
    "scenes_sheet",
    "similarity",
    "table",
]
