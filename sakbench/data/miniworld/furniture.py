"""Furniture in metres: standing pieces on y = 0 with their front towards +z, and flat ones that hang on a wall."""

from __future__ import annotations

import numpy as np

from sakbench.data.miniworld.figures import Piece
from sakbench.data.miniworld.geometry import turn_x
from sakbench.data.miniworld.objects import Builder, block, cone_solid, post, soft_block, turned_solid


def table(rng: np.random.Generator) -> list[Piece]:
    """A table: four legs under a board, or a round top on a column."""
    u = rng.uniform
    height = u(0.42, 0.78)
    if rng.random() < 0.35:
        r = u(0.35, 0.6)
        return [
            cone_solid("body", "top", height - 0.05, height, r, r),
            cone_solid("leg", "legs", 0.03, height - 0.04, 0.05, 0.04),
            turned_solid("leg", "legs", 0.0, 0.06, r * 0.55, r * 0.2),
        ]
    w, d = u(0.4, 0.85), u(0.3, 0.45)
    return [
        block("body", "top", (w, 0.025, d), (0, height - 0.025, 0)),
        *_legs(w - 0.05, d - 0.05, height - 0.04, 0.03),
    ]


def chair(rng: np.random.Generator) -> list[Piece]:
    """A chair, plain or upholstered, sometimes with arms."""
    u = rng.uniform
    w, seat, back = u(0.2, 0.27), u(0.42, 0.5), u(0.85, 1.1)
    if rng.random() < 0.4:  # an armchair
        w *= 1.5
        return [
            soft_block("body", "seat", (w, 0.2, w), (0, 0.24, 0), 0.07),
            soft_block("body", "back", (w, 0.42, 0.1), (0, 0.5, -w + 0.06), 0.08),
            *(soft_block("body", "arms", (0.08, 0.3, w), (s * w, 0.32, 0), 0.07) for s in (-1, 1)),
        ]
    return [
        soft_block("body", "seat", (w, 0.035, w), (0, seat, 0), 0.03),
        soft_block("body", "back", (w, (back - seat) * 0.3, 0.03), (0, back - (back - seat) * 0.3, -w), 0.03),
        *(post("leg", "back", (s * w * 0.9, seat, -w), (s * w * 0.9, back, -w - 0.02), 0.02, 0.02) for s in (-1, 1)),
        *_legs(w * 0.9, w * 0.9, seat, 0.022),
    ]


def bed(rng: np.random.Generator) -> list[Piece]:
    """A bed, its head against the wall."""
    u = rng.uniform
    w, length = u(0.45, 0.85), 1.0
    pieces = [
        block("leg", "frame", (w, 0.12, length), (0, 0.18, 0)),
        soft_block("body", "mattress", (w * 0.98, 0.14, length * 0.98), (0, 0.42, 0.01), 0.09),
        block("leg", "head", (w, u(0.35, 0.55), 0.04), (0, u(0.4, 0.5), -length)),
    ]
    for x in (-0.5, 0.5) if w > 0.6 else (0.0,):
        pillow = (min(w * 0.42, 0.34), 0.08, 0.2)
        pieces.append(soft_block("pillow", "pillows", pillow, (x * w, 0.62, -0.7), 0.075, turn_x(0.25)))
    return pieces


def sofa(rng: np.random.Generator) -> list[Piece]:
    """A sofa with soft cushions."""
    u = rng.uniform
    w, seats = u(0.65, 1.05), 2 + int(rng.random() < 0.4)
    step = 2 * (w - 0.12) / seats
    middles = [-w + 0.12 + step * (i + 0.5) for i in range(seats)]
    return [
        soft_block("body", "base", (w, 0.16, 0.42), (0, 0.2, 0), 0.05),
        soft_block("body", "back", (w, 0.36, 0.12), (0, 0.46, -0.32), 0.1),
        *(soft_block("body", "arms", (0.11, 0.29, 0.42), (s * w, 0.32, 0), 0.1) for s in (-1, 1)),
        *(soft_block("seat", "seats", (step / 2, 0.09, 0.33), (x, 0.43, 0.06), 0.07) for x in middles),
    ]


def cabinet(rng: np.random.Generator) -> list[Piece]:
    """A cabinet, chest of drawers or bookshelf."""
    u = rng.uniform
    half = u(0.4, 0.55) if rng.random() < 0.5 else u(0.8, 1.05)
    w, d = u(0.3, 0.7), u(0.18, 0.3)
    return [
        block("body", "body", (w, half - 0.03, d), (0, half + 0.03, 0)),
        block("leg", "foot", (w * 0.94, 0.04, d * 0.9), (0, 0.04, 0)),
    ]


def lamp(rng: np.random.Generator) -> list[Piece]:
    """A standing lamp."""
    u = rng.uniform
    height, r = u(1.3, 1.7), u(0.16, 0.26)
    return [
        cone_solid("leg", "stand", 0.0, 0.04, 0.15, 0.13),
        post("leg", "stand", (0, 0.03, 0), (0, height - 0.1, 0), 0.018, 0.018),
        cone_solid("body", "shade", height - 0.32, height, r, r * u(0.4, 0.9)),
    ]


def picture(rng: np.random.Generator) -> list[Piece]:
    """A framed picture."""
    u = rng.uniform
    return [block("body", "body", (u(0.18, 0.5), u(0.18, 0.4), 0.02), (0, u(1.4, 1.75), 0))]


def window(rng: np.random.Generator) -> list[Piece]:
    """A window with its sill."""
    u = rng.uniform
    w, half, middle = u(0.35, 0.75), u(0.4, 0.6), u(1.45, 1.6)
    return [
        block("body", "body", (w, half, 0.02), (0, middle, 0)),
        block("leg", "sill", (w * 1.08, 0.03, 0.09), (0, middle - half, 0.07)),
    ]


def door(rng: np.random.Generator) -> list[Piece]:
    """A closed door with a knob."""
    w = rng.uniform(0.38, 0.48)
    knob = post("leg", "knob", (w * 0.8, 1.0, 0.03), (w * 0.8, 1.0, 0.07), 0.035, 0.035)
    return [block("body", "body", (w, 1.0, 0.025), (0, 1.0, 0)), knob]


def _legs(x: float, z: float, height: float, radius: float) -> list[Piece]:
    feet = [(a * x, b * z) for a in (-1, 1) for b in (-1, 1)]
    return [post("leg", "legs", (a, radius, b), (a, height, b), radius, radius) for a, b in feet]


FURNITURE: dict[str, Builder] = {
    "table": table,
    "chair": chair,
    "bed": bed,
    "sofa": sofa,
    "cabinet": cabinet,
    "lamp": lamp,
}
HUNG: dict[str, Builder] = {"picture": picture, "window": window, "door": door}
