"""Scenes as data, and the sampler of the PASCAL-like kind: people, animals and solids before curved backgrounds."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from sakbench.data.miniworld.backdrop import Backdrop, Ground, Ridge, Sheet, Wall, swell
from sakbench.data.miniworld.figures import Piece
from sakbench.data.miniworld.finishes import Outfit, dress
from sakbench.data.miniworld.geometry import Placement, Vector, turn_x, turn_y
from sakbench.data.miniworld.objects import CLUTTER, OBJECTS, Builder, block
from sakbench.data.miniworld.textures import Paint, muted, pick
from sakbench.errors import UserError, unknown

VERSION = 1
KINDS = ("pascal", "nyud")
CLASSES = ("background", *OBJECTS)
PARTS = ("background", "head", "torso", "upper arm", "lower arm", "upper leg", "lower leg")
LOOKALIKES = ({"cat", "dog"}, {"ball", "melon"}, {"box", "crate"})

_GEOMETRY, _TEXTURE, _SENSOR = range(3)


@dataclass(frozen=True, eq=False)
class Thing:
    """An object or a piece of clutter: its shapes in camera coordinates, its label and what it wears."""

    name: str
    label: int
    pieces: tuple[Piece, ...]
    place: Placement
    outfit: Outfit
    texture: tuple[int, ...]
    reach: float


@dataclass(frozen=True, eq=False)
class Light:
    """A distant light (unit direction towards it) and its share against the light from everywhere."""

    direction: Vector
    ambient: float
    strength: float
    colour: Vector
    haze: float
    haze_colour: Vector


@dataclass(frozen=True)
class Sensor:
    """Noise (standard deviation of 0..1), whether the lens is out of focus, and where the noise is taken from."""

    noise: float
    soft: bool
    offset: tuple[int, int]


@dataclass(frozen=True, eq=False)
class Scene:
    """Everything that `render` needs; `field` is the tangent of half the view, `up` the world's up in camera axes."""

    seed: int
    index: int
    kind: str
    field: float
    up: Vector
    things: tuple[Thing, ...]
    backdrop: Backdrop
    light: Light
    sensor: Sensor


def stream(*keys: int) -> np.random.Generator:
    """The random stream of these keys; streams of different keys are independent."""
    return np.random.Generator(np.random.SFC64(np.random.SeedSequence((VERSION, *keys))))


def scene_streams(seed: int, index: int, kind: str) -> tuple[np.random.Generator, tuple[int, ...], np.random.Generator]:
    """A scene's geometry stream, the keys of its texture streams, and its sensor stream."""
    keys = (seed, index, KINDS.index(kind))
    return stream(*keys, _GEOMETRY), (*keys, _TEXTURE), stream(*keys, _SENSOR)


def put(
    name: str, label: int, pieces: Sequence[Piece], place: Placement, texture: tuple[int, ...], reach: float
) -> Thing:
    """A thing at its place, dressed from its own texture stream."""
    placed = tuple(Piece(p.shape.placed(place), p.slot, p.name) for p in pieces)
    return Thing(name, label, placed, place, dress(name, stream(*texture)), texture, reach)


def require_one_shape(old: str, new: str) -> None:
    """Raise UserError for names of no class, and for classes that do not share their geometry."""
    for name in (old, new):
        if name not in CLASSES:
            raise unknown("miniworld class", name, CLASSES)
    if old != new and {old, new} not in LOOKALIKES:
        pairs = ", ".join("/".join(sorted(pair)) for pair in LOOKALIKES)
        raise UserError(f"a {old} cannot become a {new}, their shapes differ; classes that share one: {pairs}.")


def counterfactual(scene: Scene, swap: Mapping[str, str]) -> Scene:
    """The same scene with some classes turned into their lookalikes, for example {"cat": "dog"}.

    Geometry, masks, depth, light and all other textures stay exactly as they are (paper Figure 6). Classes that do not
    share their geometry raise UserError.
    """
    for old, new in swap.items():
        require_one_shape(old, new)
    things = []
    for thing in scene.things:
        if thing.label and thing.name in swap:
            name = swap[thing.name]
            outfit = dress(name, stream(*thing.texture))
            thing = replace(thing, name=name, label=CLASSES.index(name), outfit=outfit)
        things.append(thing)
    return replace(scene, things=tuple(things))


def sample_light(rng: np.random.Generator, haze: float) -> Light:
    """A light from above and in front, of a random colour near white."""
    u = rng.uniform
    direction = np.array([u(-1.2, 1.2), u(0.35, 1.2), u(0.35, 1.1)])
    ambient = u(0.3, 0.55)
    return Light(
        direction / np.linalg.norm(direction),
        ambient,
        u(0.95, 1.25) - ambient * 0.6,
        np.array([1.0 + u(-0.08, 0.1), 1.0, 1.0 + u(-0.12, 0.08)]),
        haze,
        u(0.45, 0.9, 3),
    )


def sample_sensor(rng: np.random.Generator) -> Sensor:
    """How the picture is taken."""
    noise = rng.uniform(0.005, 0.035)
    return Sensor(float(noise), bool(rng.random() < 0.25), (int(rng.random() * 128), int(rng.random() * 128)))


def sample_pascal(seed: int, index: int) -> Scene:
    """A scene of 1-4 objects with clutter, in front of curved ground, walls or hills."""
    rng, keys, sensor_rng = scene_streams(seed, index, "pascal")
    u = rng.uniform
    field, pitch = float(u(0.32, 0.42)), float(u(0.04, 0.22))
    backdrop = _backdrop(rng, stream(*keys, 0), pitch)
    yard = _Yard(rng, keys, field, pitch, backdrop)
    count = 1 + int(np.searchsorted((0.2, 0.52, 0.8), rng.random()))
    for i in range(count):
        yard.add_object(main=i == 0)
    for _ in range(int(u(1, 6))):
        yard.add_clutter()
    for _ in range(int(u(0, 2.4))):
        yard.add_poster()
    haze = float(u(0.01, 0.06)) if rng.random() < 0.3 else 0.0
    up = turn_x(pitch)[:, 1]
    light = sample_light(rng, haze)
    return Scene(seed, index, "pascal", field, up, tuple(yard.things), backdrop, light, sample_sensor(sensor_rng))


_OTHERS = tuple(name for name in OBJECTS if name != "person")


class _Yard:
    """Places things one after the other so that they stand on the ground and do not hide each other entirely."""

    def __init__(
        self, rng: np.random.Generator, keys: tuple[int, ...], field: float, pitch: float, backdrop: Backdrop
    ) -> None:
        self.rng, self.keys, self.field, self.backdrop = rng, keys, field, backdrop
        self.tilt = turn_x(pitch)
        self.things: list[Thing] = []
        self._places: list[tuple[float, float]] = []
        self._base = 0.0

    def add_object(self, main: bool) -> None:
        """The main object, or one of the others."""
        u = self.rng.uniform
        name = "person" if self.rng.random() < 0.28 else pick(self.rng, _OTHERS)
        if main:
            height = u(0.62, 1.0)
            self._base = base = u(-0.04, 0.05 + 0.5 * (1 - height))
            across = u(-0.45, 0.45)
        else:
            height = u(0.38, 0.72)
            base = self._base + u(-0.04, 0.3)
            across = self._free_place(height)
        self._places.append((across, height))
        self._stand(name, CLASSES.index(name), OBJECTS[name], height, across, base)

    def add_clutter(self) -> None:
        """A small unlabelled thing."""
        u = self.rng.uniform
        name = pick(self.rng, tuple(CLUTTER))
        self._stand(name, 0, CLUTTER[name], u(0.07, 0.26), u(-1, 1), u(-0.03, 0.5))

    def add_poster(self) -> None:
        """A flat picture on what is behind."""
        u = self.rng.uniform
        x, y = u(-0.9, 0.9) * self.field, u(0.0, 0.9) * self.field
        depth = self.backdrop.depth_at(x, y) * 0.97
        pieces = [block("body", "body", (u(0.06, 0.2), u(0.06, 0.2), 0.01), (0, 0, 0))]
        place = Placement(turn_y(u(-0.2, 0.2)), 2 * self.field * depth, depth * np.array([x, y, -1.0]))
        self.things.append(put("poster", 0, pieces, place, (*self.keys, len(self.things) + 1), 0.0))

    def _free_place(self, height: float) -> float:
        """Of a few random places, the one farthest from what already stands."""
        candidates = self.rng.uniform(-0.85, 0.85, 4)
        gaps = [min(abs(c - x) / (height + h) for x, h in self._places) for c in candidates]
        return float(candidates[int(np.argmax(gaps))])

    def _stand(self, name: str, label: int, build: Builder, height: float, across: float, base: float) -> None:
        """Stand a thing so that its picture is `height` of the image high; across in -1..1, base from the bottom."""
        rng = self.rng
        pieces = build(rng)
        facing = turn_y(_yaw(name, rng))
        if rng.random() < 0.5:
            facing = facing @ np.diag([-1.0, 1.0, 1.0])
        corners = facing @ np.concatenate([piece.shape.corners() for piece in pieces], axis=1)
        tall, wide = corners[1].max(), corners[0].max() - corners[0].min()
        x = across * self.field
        y = min((2 * base - 1) * self.field, self.backdrop.horizon)
        depth = self.backdrop.depth_at(x, y)
        scale = height * 2 * self.field * depth / max(tall, 0.85 * wide)
        scale = min(scale, 0.8 * depth / corners[2].max())  # the camera stays outside
        place = Placement(self.tilt @ facing, float(scale), depth * np.array([x, y, -1.0]))
        reach = float(scale * 0.5 * wide)
        self.things.append(put(name, label, pieces, place, (*self.keys, len(self.things) + 1), reach))


def _yaw(name: str, rng: np.random.Generator) -> float:
    if name == "person":
        return float(rng.uniform(-0.9, 0.9) if rng.random() < 0.87 else rng.uniform(0, 6.3))
    if name in ("cat", "dog"):
        return float(rng.uniform(-0.7, 0.5))
    return float(rng.uniform(-0.8, 0.8))


def _backdrop(rng: np.random.Generator, texture: np.random.Generator, pitch: float) -> Backdrop:
    """Ground in front of a curved wall, a corner, columns, or hills under a domed sky."""
    u = rng.uniform
    ground: Sheet = Ground(_ground_paint(texture), pitch, swell(rng, u(0.01, 0.05), (3, 12), (1, 5)))
    distance = u(3.0, 9.0)
    horizon = float(np.tan(pitch) - 1 / distance)
    style = rng.random()
    folds = swell(rng, u(0.004, 0.03), (4, 16), (2, 10))
    if style < 0.4:
        return Backdrop("hills", (ground, *_hills(rng, texture, pitch)), 0.0, float(np.tan(pitch) - 0.06))
    columns = (0.0, 1.0, 0.0)
    slope = u(-0.5, 0.5)
    if style < 0.55:
        columns = (float(u(0.04, 0.12)), float(u(8, 22)), float(u(0, 6.3)))
    wall = Wall(_wall_paint(texture), distance, slope, float(u(-1.6, 1.6)), folds, columns)
    sheets: tuple[Sheet, ...] = (ground, wall)
    if rng.random() < 0.4:  # a second wall makes a corner
        other = float(np.sign(-slope) * u(0.9, 2.2))
        sheets += (replace(wall, paint=_wall_paint(texture), slope=other, distance=distance * u(0.9, 1.2)),)
    fillet = float(u(0.8, 2.5)) if rng.random() < 0.5 else 0.0
    return Backdrop("columns" if columns[0] else "wall", sheets, fillet, horizon - 0.02)


def _hills(rng: np.random.Generator, texture: np.random.Generator, pitch: float) -> tuple[Sheet, ...]:
    u = rng.uniform
    sky = Wall(muted(texture, frequency=(0.2, 1.2)), 40.0, 0.0, u(-2.5, -0.5), swell(rng, 0.03, (3, 8), (3, 8)))
    hills: list[Sheet] = [sky]
    horizon = np.tan(pitch)
    for i in range(int(u(1, 4))):  # from the farthest to the nearest
        waves = np.stack([u(0.006, 0.05, 3), u(4, 18, 3), u(0, 6.3, 3)], axis=1).astype(np.float32)
        line = float(horizon + u(0.0, 0.16) - 0.05 * i)
        bumps = swell(rng, u(0.01, 0.04), (8, 24), (8, 24))
        hills.append(Ridge(muted(texture, frequency=(0.5, 2.6)), 22.0 - 5 * i, line, waves, bumps, float(u(0.8, 2.5))))
    return tuple(hills)


def _ground_paint(rng: np.random.Generator) -> Paint:
    return muted(rng, frequency=(2.5, 13))


def _wall_paint(rng: np.random.Generator) -> Paint:
    return muted(rng, frequency=(1.5, 8))
