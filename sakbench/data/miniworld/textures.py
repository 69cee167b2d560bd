"""Paint: what a surface looks like. Things and surroundings share the same families and colours, but most surroundings
are muted, as they are in photographs: greyer, and of low contrast.

A paint mixes two colours by a pattern of the point in space (solid textures need no unwrapping); the first colour
always covers the larger part, so that its name is the colour of the thing.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from sakbench.data.miniworld.geometry import Array

PALETTE: dict[str, tuple[float, float, float]] = {
    "red": (0.80, 0.13, 0.11),
    "orange": (0.93, 0.50, 0.10),
    "yellow": (0.93, 0.82, 0.18),
    "green": (0.20, 0.58, 0.18),
    "cyan": (0.20, 0.72, 0.74),
    "blue": (0.15, 0.27, 0.78),
    "purple": (0.48, 0.19, 0.66),
    "pink": (0.94, 0.55, 0.68),
    "brown": (0.45, 0.27, 0.13),
    "black": (0.09, 0.09, 0.10),
    "grey": (0.50, 0.50, 0.51),
    "white": (0.92, 0.91, 0.87),
}
COLOURS = tuple(PALETTE)
FAMILIES = ("plain", "stripes", "checks", "dots", "noise", "marble", "gradient", "bricks", "grain")
MOSTLY_PLAIN = ("plain", "plain", "plain", "plain", "plain", "gradient", "gradient", *FAMILIES)
LOUD_SURROUNDINGS = 0.15  # the share that is as colourful as a thing

Rgb = NDArray[np.float32]
T = TypeVar("T")


def pick(rng: np.random.Generator, options: Sequence[T]) -> T:
    """One of the options, all equally likely (much faster than `choice`)."""
    return options[int(rng.random() * len(options))]


def tint(rng: np.random.Generator, name: str, spread: float = 0.05) -> Rgb:
    """An RGB (3,) near the named colour of the palette."""
    brightness = rng.uniform(0.85, 1.08)
    shifts = rng.uniform(-spread, spread, 3).tolist()
    channels = zip(PALETTE[name], shifts, strict=True)
    return np.array([min(max(c * brightness + d, 0.02), 1.0) for c, d in channels], dtype=np.float32)


@dataclass(frozen=True, eq=False)
class Paint:
    """Two colours, a pattern of the point in space, and how much the surface shines.

    `waves` (3, 3) turns points into pattern coordinates (its rows are directions times frequency), `phase` (3,) shifts
    them, `cut` says where the pattern turns from the first colour to the second.
    """

    word: str
    first: Rgb
    second: Rgb
    family: str
    waves: NDArray[np.float32]
    phase: NDArray[np.float32]
    cut: float
    gloss: float = 0.0

    def albedo(self, points: Array) -> Array:
        """Colours (3, n) in 0..1 at points (3, n)."""
        if self.family == "plain":
            return np.repeat(self.first[:, None], points.shape[1], axis=1)
        share = _PATTERNS[self.family](self.waves @ points + self.phase[:, None], np.float32(self.cut))
        return self.first[:, None] + (self.second - self.first)[:, None] * share

    def recoloured(self, first: Rgb, second: Rgb, word: str) -> Paint:
        """The same pattern in other colours."""
        return Paint(word, first, second, self.family, self.waves, self.phase, self.cut, self.gloss)


def _edge(value: Array, cut: np.float32, sharpness: float = 6.0) -> Array:
    """A soft step from 0 to 1 where the value passes the cut."""
    result: Array = np.clip((value - cut) * np.float32(sharpness) + np.float32(0.5), 0, 1)
    return result


def _swirl(w: Array) -> Array:
    """Smooth noise in about -1..1: sines of coordinates that are bent by other sines."""
    bent = w + np.float32(1.3) * np.sin(w[[1, 2, 0]] * np.float32(1.7))
    waves = np.sin(bent)
    result: Array = (waves[0] + waves[1] + waves[2] + waves[0] * waves[1]) * np.float32(0.4)
    return result


def _stripes(w: Array, cut: np.float32) -> Array:
    return _edge(np.sin(w[0]), cut)


def _checks(w: Array, cut: np.float32) -> Array:
    waves = np.sin(w)
    return _edge(waves[0] * waves[1] * waves[2], np.float32(0.05), 12)


def _dots(w: Array, cut: np.float32) -> Array:
    cell = w * np.float32(0.32)
    cell -= np.rint(cell)
    return _edge(-(cell[0] ** 2 + cell[1] ** 2 + cell[2] ** 2), np.float32(-0.12), 25)


def _noise(w: Array, cut: np.float32) -> Array:
    return _edge(_swirl(w), cut, 3)


def _marble(w: Array, cut: np.float32) -> Array:
    vein = np.sin(w[0] + np.float32(2.2) * _swirl(w[[1, 2, 0]]))
    result: Array = np.float32(1) - np.sqrt(abs(vein))
    return result


def _gradient(w: Array, cut: np.float32) -> Array:
    result: Array = np.clip(np.float32(0.35) + np.float32(0.3) * w[0] * np.float32(0.5), 0, 0.8)
    return result


def _bricks(w: Array, cut: np.float32) -> Array:
    row = w[1] * np.float32(0.4)
    floor = np.floor(row)
    column = w[0] * np.float32(0.2) + np.float32(0.5) * (floor % 2)
    gap = np.minimum(abs(row - floor - np.float32(0.5)) * 2, np.float32(2))
    side = abs(column - np.floor(column) - np.float32(0.5)) * 2
    return _edge(np.maximum(gap, side), np.float32(0.86), 9)


def _grain(w: Array, cut: np.float32) -> Array:
    return _edge(np.sin(w[0] * 3 + np.float32(0.8) * np.sin(w[1]) + np.float32(0.6) * np.sin(w[2])), cut, 1.2)


_PATTERNS: dict[str, Callable[[Array, np.float32], Array]] = {
    "stripes": _stripes,
    "checks": _checks,
    "dots": _dots,
    "noise": _noise,
    "marble": _marble,
    "gradient": _gradient,
    "bricks": _bricks,
    "grain": _grain,
}


def paint(
    rng: np.random.Generator,
    *,
    colours: Sequence[str] = COLOURS,
    families: Sequence[str] = FAMILIES,
    frequency: tuple[float, float] = (12.0, 34.0),
    second: str | None = None,
    gloss: float = 0.0,
) -> Paint:
    """A random paint; frequencies are radians per unit of the coordinates that it will be given."""
    word = pick(rng, colours)
    first = tint(rng, word)
    other = tint(rng, second) if second else tint(rng, pick(rng, COLOURS))
    if second is None and rng.random() < 0.35:  # a darker or lighter shade of the same colour
        other = (first * np.float32(0.55) if first.sum() > 0.9 else first + np.float32(0.22)).astype(np.float32)
    directions = _directions(rng) * rng.uniform(*frequency)
    return Paint(
        word,
        first,
        other,
        pick(rng, families),
        directions.astype(np.float32),
        rng.uniform(0, 6.3, 3).astype(np.float32),
        float(rng.uniform(0.15, 0.5)),
        gloss,
    )


def often(rng: np.random.Generator, typical: Sequence[str], share: float = 0.7) -> Sequence[str]:
    """The colours to choose from: with the given chance those typical of a class, else all."""
    return typical if rng.random() < share else COLOURS


def muted(rng: np.random.Generator, frequency: tuple[float, float]) -> Paint:
    """A paint for surroundings: mostly greyish, its two colours near each other."""
    loud = paint(rng, families=MOSTLY_PLAIN, frequency=frequency)
    if rng.random() < LOUD_SURROUNDINGS:
        return loud
    grey = np.float32(0.5 * loud.first.mean() + 0.3)
    first = grey + (loud.first - grey) * np.float32(rng.uniform(0.25, 0.6))
    second = first + (loud.second - loud.first) * np.float32(rng.uniform(0.08, 0.3))
    return loud.recoloured(first.astype(np.float32), np.clip(second, 0.02, 1).astype(np.float32), loud.word)


def _directions(rng: np.random.Generator) -> NDArray[np.float64]:
    """Three orthogonal directions: often nearly upright, else turned at random."""
    a, b, c = (rng.uniform(-0.5, 0.5, 3) * (1.0 if rng.random() < 0.5 else 0.15)).tolist()
    # the rotation whose Rodrigues vector is (-c, -b, -a)
    n = 1 + a * a + b * b + c * c
    rows = [
        [1 + c * c - a * a - b * b, 2 * (c * b + a), 2 * (c * a - b)],
        [2 * (c * b - a), 1 + b * b - a * a - c * c, 2 * (a * b + c)],
        [2 * (c * a + b), 2 * (a * b - c), 1 + a * a - b * b - c * c],
    ]
    first = int(rng.random() * 3)
    return np.array([rows[-first], rows[1 - first], rows[2 - first]]) / n
