"""Colours that mean the same in every figure and that the colour-blind tell apart (after Okabe and Ito)."""

from collections.abc import Iterable
from itertools import cycle

INK = "#222222"
FAINT = "#8a8a8a"
GRID = "#dddddd"
ACCENT = "#d55e00"

MODELS = {
    "Multi-task baseline": "#222222",
    "ViT": "#7f7f7f",
    "stem": "#7f7f7f",
    "DINOv2": "#0072b2",
    "CLIP": "#e69f00",
    "SAM": "#009e73",
    "RADIO": "#cc79a7",
    "Theia": "#56b4e9",
    "SAK": "#d55e00",
}

SPARE = ("#5b4a8a", "#8c6d31", "#b8b800", "#a0a0a0", "#a3473b")


def model_colours(names: Iterable[str]) -> dict[str, str]:
    """A colour for each model or expert: its own where it has one, otherwise the next spare one."""
    spare = cycle(SPARE)
    return {name: MODELS.get(name) or next(spare) for name in names}
