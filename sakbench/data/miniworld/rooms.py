"""The sampler of the NYUD-like kind: furnished rooms in metres, seen from about eye height."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from sakbench.data.miniworld.backdrop import Backdrop, Plane
from sakbench.data.miniworld.figures import Piece
from sakbench.data.miniworld.furniture import FURNITURE, HUNG, Builder
from sakbench.data.miniworld.geometry import Placement, Vector, turn_x, turn_y
from sakbench.data.miniworld.objects import CLUTTER, OBJECTS
from sakbench.data.miniworld.scenes import Scene, Thing, put, sample_light, sample_sensor, scene_streams, stream
from sakbench.data.miniworld.textures import FAMILIES, paint, pick

INDOOR_CLASSES = ("other", "wall", "floor", "ceiling", *FURNITURE, *HUNG, "cushion", "vase")

_SMALL: dict[str, Builder] = {
    **{name: OBJECTS[name] for name in ("ball", "box", "crate", "can", "vase")},
    **{name: CLUTTER[name] for name in ("bowl", "cushion")},
}
_WALLPAPERS = ("plain", "plain", "gradient", *FAMILIES)
_CEILINGS = ("plain", "plain", "grain", "bricks")
_CEILING_COLOURS = ("white", "white", "grey", "yellow")
_SOFT = {"sofa": 0.5, "bed": 0.55}  # how high one sits


@dataclass(frozen=True, eq=False)
class _Wall:
    """A wall in room coordinates (the camera at the origin): the direction into the room, and its distance."""

    inwards: Vector
    distance: float
    turn: float


def sample_nyud(seed: int, index: int) -> Scene:
    """A furnished room; labels are INDOOR_CLASSES, depth is in metres."""
    rng, keys, sensor_rng = scene_streams(seed, index, "nyud")
    u = rng.uniform
    field = float(u(0.48, 0.6))
    view = turn_x(u(0.06, 0.34)) @ turn_y(u(-0.75, 0.75))
    eye, height = u(1.2, 1.65), u(2.3, 2.9)
    walls = (
        _Wall(np.array([0.0, 0.0, 1.0]), u(2.4, 5.5), 0.0),
        _Wall(np.array([1.0, 0.0, 0.0]), u(1.1, 2.8), np.pi / 2),
        _Wall(np.array([-1.0, 0.0, 0.0]), u(1.1, 2.8), -np.pi / 2),
    )
    room = _Room(rng, keys, view, eye, walls)
    room.furnish()
    backdrop = Backdrop("room", _planes(stream(*keys, 0), view, eye, height, walls))
    light = replace(sample_light(rng, 0.0), ambient=u(0.5, 0.7), strength=u(0.45, 0.75))
    return Scene(seed, index, "nyud", field, view[:, 1], tuple(room.things), backdrop, light, sample_sensor(sensor_rng))


def _planes(
    texture: np.random.Generator, view: Vector, eye: float, height: float, walls: Sequence[_Wall]
) -> tuple[Plane, ...]:
    wall, floor, ceiling = (INDOOR_CLASSES.index(name) for name in ("wall", "floor", "ceiling"))
    up = view[:, 1]
    planes = [
        Plane(paint(texture, frequency=(3, 16)), up, eye, floor),
        Plane(paint(texture, families=_CEILINGS, colours=_CEILING_COLOURS), -up, height - eye, ceiling),
    ]
    for side in walls:
        if side.turn == 0 or texture.random() < 0.3:  # most rooms have one wallpaper
            colour = paint(texture, families=_WALLPAPERS, frequency=(2, 12))
        planes.append(Plane(colour, view @ side.inwards, side.distance, wall))
    return tuple(planes)


class _Room:
    """Places furniture along the walls and in the middle so that nothing overlaps."""

    def __init__(
        self, rng: np.random.Generator, keys: tuple[int, ...], view: Vector, eye: float, walls: Sequence[_Wall]
    ) -> None:
        self.rng, self.keys, self.view, self.eye, self.walls = rng, keys, view, eye, walls
        self.things: list[Thing] = []
        self._taken: list[tuple[float, float, float]] = []
        self._tops: list[tuple[str, Vector, float, float]] = []

    def furnish(self) -> None:
        """Fill the room."""
        rng = self.rng
        for wall in self.walls:
            for _ in range(1 + int(rng.random() < 0.6)):
                self._hang(pick(rng, tuple(HUNG)), wall)
            for _ in range(1 + int(rng.random() < 0.5)):
                name = pick(rng, ("bed", "sofa", "cabinet", "cabinet", "table", "chair", "lamp"))
                self._against(name, wall)
        for name in ("table", "chair", "chair"):
            if rng.random() < 0.6:
                self._free(name, FURNITURE[name], 1.0)
        for _ in range(int(rng.uniform(1, 6))):
            name = pick(rng, tuple(_SMALL))
            size = rng.uniform(0.22, 0.55)
            if self._tops and rng.random() < 0.6:
                self._on_top(name, size)
            else:
                self._free(name, _SMALL[name], size)

    def _against(self, name: str, wall: _Wall) -> None:
        """Furniture with its back to a wall."""
        pieces = FURNITURE[name](self.rng)
        wide, deep, tall = _extent(pieces)
        out = wall.distance - deep / 2 - 0.03
        along = self._along(wall, wide / 2)
        if along is not None:
            self._stand(name, pieces, _spot(wall, out, along), wall.turn, (wide, deep, tall), 1.0)

    def _free(self, name: str, build: Builder, scale: float) -> None:
        """A thing anywhere on the floor, turned anyhow."""
        u = self.rng.uniform
        pieces = build(self.rng)
        wide, deep, tall = (scale * side for side in _extent(pieces))
        front, left, right = (wall.distance for wall in self.walls)
        for _ in range(4):
            spot = np.array([u(-left + wide / 2, right - wide / 2), 0.0, -u(1.3, max(front - deep / 2, 1.4))])
            if self._stand(name, pieces, spot, u(-3.1, 3.1), (wide, deep, tall), scale):
                return

    def _on_top(self, name: str, scale: float) -> None:
        """A small thing on a table, a cabinet, a bed or a sofa."""
        u = self.rng.uniform
        below, spot, reach, height = pick(self.rng, self._tops)
        shift = np.array([u(-reach, reach) * 0.6, 0.0, u(-reach, reach) * 0.4])
        build = _SMALL[name]
        if below in _SOFT:
            name, build, scale = "cushion", _SMALL["cushion"], u(0.35, 0.5)
        elif self.rng.random() < 0.25:
            name, build, scale = "lamp", FURNITURE["lamp"], 0.32
        self._put(name, build(self.rng), spot + shift + [0, height, 0], u(-1, 1), scale, 0.0)

    def _hang(self, name: str, wall: _Wall) -> None:
        """A picture, window or door on a wall."""
        pieces = HUNG[name](self.rng)
        along = self._along(wall, 0.5)
        if along is not None:
            self._put(name, pieces, _spot(wall, wall.distance - 0.02, along), wall.turn, 1.0, 0.0)

    def _along(self, wall: _Wall, half: float) -> float | None:
        """A place along a wall, in room coordinates; None if the wall is too short."""
        front, left, right = (side.distance for side in self.walls)
        low, high = (-left, right) if wall.turn == 0 else (-front, -1.2)
        return float(self.rng.uniform(low + half, high - half)) if high - low > 2 * half else None

    def _stand(
        self,
        name: str,
        pieces: list[Piece],
        spot: Vector,
        turn: float,
        extent: tuple[float, float, float],
        scale: float,
    ) -> bool:
        """Stand a thing on the floor unless something is there already or the camera is too near; whether it was."""
        wide, deep, tall = extent
        reach = 0.42 * max(wide, deep)
        taken = any(np.hypot(spot[0] - x, spot[2] - z) < reach + r for x, z, r in self._taken)
        if taken or np.hypot(spot[0], spot[2]) < 0.9 + reach or spot[2] > -0.5:
            return False
        self._taken.append((spot[0], spot[2], reach))
        if name in ("table", "cabinet") and tall < 1.3:
            self._tops.append((name, spot, 0.4 * min(wide, deep), tall))
        elif name in _SOFT:
            self._tops.append((name, spot, 0.4 * min(wide, deep), _SOFT[name]))
        self._put(name, pieces, spot, turn, scale, reach)
        return True

    def _put(self, name: str, pieces: list[Piece], spot: Vector, turn: float, scale: float, reach: float) -> None:
        """Place a thing, unless a part of it would be beside or behind the camera."""
        base = self.view @ (spot - np.array([0.0, self.eye, 0.0]))
        label = INDOOR_CLASSES.index(name) if name in INDOOR_CLASSES else 0
        place = Placement(self.view @ turn_y(turn), scale, base)
        thing = put(name, label, pieces, place, (*self.keys, len(self.things) + 1), reach)
        if max(piece.shape.corners()[2].max() for piece in thing.pieces) < -0.5:
            self.things.append(thing)


def _spot(wall: _Wall, out: float, along: float) -> Vector:
    """The floor point (3,) at a distance from the camera towards a wall, shifted along it."""
    return -wall.inwards * out + (np.array([along, 0.0, 0.0]) if wall.turn == 0 else np.array([0.0, 0.0, along]))


def _extent(pieces: list[Piece]) -> tuple[float, float, float]:
    """Width, depth and height of pieces that stand on the floor."""
    corners = np.concatenate([piece.shape.corners() for piece in pieces], axis=1)
    low, high = corners.min(1), corners.max(1)
    return float(high[0] - low[0]), float(high[2] - low[2]), float(high[1])
