"""Surfaces behind the things: sheets that give a depth for every ray. The nearest sheet shows."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from sakbench.data.miniworld.geometry import Array, Vector, unit
from sakbench.data.miniworld.textures import Paint

FARTHEST = 60.0


class Sheet(Protocol):
    """A surface that covers all rays, or those for which `covers` holds."""

    @property
    def paint(self) -> Paint:
        """What it looks like."""

    @property
    def label(self) -> int:
        """Its semseg label."""

    def depth(self, x: Array, y: Array) -> Array:
        """Depth (h, w) along the rays x (1, w), y (h, 1)."""

    def covers(self, x: Array, y: Array) -> NDArray[np.bool_] | None:
        """Rays (h, w) that the sheet covers; None for all."""


@dataclass(frozen=True, eq=False)
class Swell:
    """Low hills on a sheet: a sum of products of one wave in X and one in the other coordinate, as a share of depth."""

    height: float
    across: NDArray[np.float32]
    along: NDArray[np.float32]
    phases: NDArray[np.float32]

    def __call__(self, u: Array, v: Array) -> Array:
        """Relative rise (h, w) for u (1, w) and v (h, 1)."""
        waves_u = np.sin(u * self.across[:, None] + self.phases[:, :1])
        waves_v = np.sin(v * self.along + self.phases[:, 1])
        result: Array = (np.float32(self.height) * waves_v) @ waves_u
        return result


def swell(rng: np.random.Generator, height: float, across: tuple[float, float], along: tuple[float, float]) -> Swell:
    """Random hills of three waves."""
    f = np.float32
    return Swell(
        height,
        rng.uniform(*across, 3).astype(f),
        rng.uniform(*along, 3).astype(f),
        rng.uniform(0, 6.3, (3, 2)).astype(f),
    )


@dataclass(frozen=True, eq=False)
class Plane:
    """The plane normal . P = -offset (offset > 0: the camera is in front of it)."""

    paint: Paint
    normal: Vector
    offset: float
    label: int = 0

    def depth(self, x: Array, y: Array) -> Array:
        """Depth (h, w); the farthest depth where the ray runs away from the plane."""
        n = self.normal.astype(np.float32)
        fall = np.maximum((n[2] - n[0] * x) - n[1] * y, np.float32(self.offset / FARTHEST))
        result: Array = np.float32(self.offset) / fall
        return result

    def covers(self, x: Array, y: Array) -> None:
        """A plane covers all rays."""
        return


@dataclass(frozen=True, eq=False)
class Ground:
    """Rolling ground below a camera that is pitched down by `pitch` at height 1."""

    paint: Paint
    pitch: float
    hills: Swell
    label: int = 0

    def depth(self, x: Array, y: Array) -> Array:
        """Depth (h, w)."""
        c, s = np.float32(np.cos(self.pitch)), np.float32(np.sin(self.pitch))
        fall = np.maximum(s - c * y, np.float32(1 / FARTHEST))
        result: Array = (1 + self.hills(x, np.log(fall))) / fall
        return result

    def covers(self, x: Array, y: Array) -> None:
        """The ground covers all rays (very far above the horizon)."""
        return


@dataclass(frozen=True, eq=False)
class Wall:
    """An upright surface at `distance`, turned by `slope`, curved by `bow`, with folds and columns."""

    paint: Paint
    distance: float
    slope: float
    bow: float
    folds: Swell
    columns: tuple[float, float, float] = (0.0, 1.0, 0.0)
    label: int = 0

    def depth(self, x: Array, y: Array) -> Array:
        """Depth (h, w)."""
        height, rate, phase = (np.float32(value) for value in self.columns)
        row = (1 + np.float32(self.bow) * x * x) / (1 + np.float32(self.slope) * x)
        row = row * (1 - height * abs(np.sin(rate * x + phase)))
        result: Array = np.float32(self.distance) * row * (1 + self.folds(x, y))
        return result

    def covers(self, x: Array, y: Array) -> None:
        """A wall covers all rays."""
        return


@dataclass(frozen=True, eq=False)
class Ridge:
    """A round hill in front of what is behind it: covers the rays below a wavy line."""

    paint: Paint
    distance: float
    line: float
    waves: NDArray[np.float32]
    bumps: Swell
    roundness: float
    label: int = 0

    def _below(self, x: Array, y: Array) -> Array:
        crest = np.float32(self.line)
        for rise, rate, phase in self.waves:
            crest = crest + rise * np.sin(rate * x + phase)
        result: Array = crest - y
        return result

    def depth(self, x: Array, y: Array) -> Array:
        """Depth (h, w): it comes nearer below the crest, steeply at first."""
        nearer = np.sqrt(np.maximum(self._below(x, y), 0) + np.float32(1e-4)) * np.float32(self.roundness)
        result: Array = np.float32(self.distance) * (1 + self.bumps(x, y)) / (1 + nearer)
        return result

    def covers(self, x: Array, y: Array) -> NDArray[np.bool_]:
        """Rays below the crest."""
        result: NDArray[np.bool_] = self._below(x, y) > 0
        return result


@dataclass(frozen=True, eq=False)
class Backdrop:
    """Sheets, the ground or floor first; how softly they run into each other (`fillet` 0: with a crease).

    `name` is the caption's word; things stand on the ground below the image-plane height `horizon`.
    """

    name: str
    sheets: tuple[Sheet, ...]
    fillet: float = 0.0
    horizon: float = 0.0

    def depths(self, x: Array, y: Array) -> tuple[Array, NDArray[np.intp], list[Array]]:
        """Depth (h, w) of what shows, the number of its sheet (h, w), and the depth (h, w) of every sheet; sheets
        that run into each other have the depth of what shows."""
        each = [sheet.depth(x, y) for sheet in self.sheets]
        shown = each[0]
        number = np.zeros(shown.shape, dtype=np.intp)
        for i, (sheet, depth) in enumerate(zip(self.sheets[1:], each[1:], strict=True), start=1):
            nearer = depth < shown
            covered = sheet.covers(x, y)
            if covered is not None:
                nearer &= covered
            number[nearer] = i
            if self.fillet and covered is None:
                # a smooth minimum; both surfaces bend towards each other near the crease
                h = np.maximum(self.fillet - abs(shown - depth), 0) / np.float32(self.fillet)
                shown = np.minimum(shown, depth) - h * h * np.float32(self.fillet / 4)
            else:
                shown = np.where(nearer, depth, shown)
        return shown, number, [shown] * len(each) if self.fillet else each

    def depth_at(self, x: float, y: float) -> float:
        """Depth along one ray."""
        one = np.float32
        return float(self.depths(np.array([[x]], dtype=one), np.array([[y]], dtype=one))[0][0, 0])


def sheet_normals(depth: Array, x: Array, y: Array) -> Array:
    """Unit normals (3, h, w) of the surface depth * (X, Y, -1): the cross product of its two tangents."""
    dx, dy = np.empty_like(depth), np.empty_like(depth)
    _slope(depth.T, float(x[0, 1] - x[0, 0]), dx.T)
    _slope(depth, float(y[1, 0] - y[0, 0]), dy)
    return unit(np.stack([dx, dy, x * dx + y * dy + depth]))


def _slope(values: Array, step: float, out: Array) -> None:
    """Differences along the first axis, central inside, one-sided at the ends."""
    np.subtract(values[2:], values[:-2], out=out[1:-1])
    out[1:-1] *= np.float32(0.5 / step)
    out[0] = (values[1] - values[0]) * np.float32(1 / step)
    out[-1] = (values[-1] - values[-2]) * np.float32(1 / step)
