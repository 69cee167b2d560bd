"""From a scene to a picture with its whole ground truth: z-buffer first, then paint and light for what is visible."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from itertools import groupby

import numpy as np
from numpy.typing import NDArray

from sakbench.data.miniworld.backdrop import sheet_normals
from sakbench.data.miniworld.geometry import Array, draw, rays
from sakbench.data.miniworld.scenes import PARTS, Scene, Thing

Bytes = NDArray[np.uint8]


@dataclass(frozen=True, eq=False)
class Rendered:
    """A picture of size S x S and what is in it.

    image uint8 (S, S, 3); semseg, parsing, saliency uint8 (S, S); normals float32 (3, S, S), unit, x right, y up, z
    towards the camera; depth float32 (S, S), metres; instance uint8 (S, S): 0 surroundings, then the scene's things in
    order; part uint8 (S, S): 1, 2, ... every surface of the surroundings, then every part of every thing; region uint8
    (S, S): surfaces and instances in one map, whose contours are the boundaries.
    """

    image: Bytes
    semseg: Bytes
    parsing: Bytes
    saliency: Bytes
    normals: Array
    depth: Array
    instance: Bytes
    part: Bytes
    region: Bytes

    @property
    def boundary(self) -> Bytes:
        """The boundary map (S, S) of the regions."""
        return boundaries(self.region)


@dataclass(frozen=True, eq=False)
class _Numbers:
    """What each number in the z-buffer stands for: sheets first, then every piece of every thing."""

    semseg: Bytes
    parsing: Bytes
    instance: Bytes
    part: Bytes
    region: Bytes


def render(scene: Scene, size: int = 128) -> Rendered:
    """Render the scene; `size` changes the sampling only, not the scene."""
    with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
        return _render(scene, size)


def _render(scene: Scene, size: int) -> Rendered:
    x, y = rays(size, scene.field)
    depth, sheet, sheet_depths = scene.backdrop.depths(x, y)
    ids = sheet.astype(np.uint16)
    depth = depth.copy()
    number = len(scene.backdrop.sheets)
    for thing in scene.things:
        for piece in thing.pieces:
            draw(piece.shape, number, depth, ids, x, y, scene.field)
            number += 1
    names = _numbers(scene)
    pixels = _Pixels(scene, x, y, depth, ids, sheet_depths)
    image = _finish(pixels.colours(), ids, names.instance, scene, size)
    instance = names.instance[ids]
    return Rendered(
        image,
        names.semseg[ids],
        names.parsing[ids],
        _saliency(instance, scene),
        pixels.normals(),
        depth,
        instance,
        names.part[ids],
        names.region[ids],
    )


def _numbers(scene: Scene) -> _Numbers:
    rows = [(sheet.label, 0, 0, i, i) for i, sheet in enumerate(scene.backdrop.sheets, start=1)]
    surfaces = count = len(rows)
    for i, thing in enumerate(scene.things, start=1):
        seen: dict[str, int] = {}
        for piece in thing.pieces:
            if piece.name not in seen:
                count += 1
                seen[piece.name] = count
            kind = piece.name.removeprefix("left ").removeprefix("right ")
            parsing = PARTS.index(kind) if thing.name == "person" else 0
            rows.append((thing.label, parsing, i, seen[piece.name], surfaces + i))
    return _Numbers(*np.array(rows, dtype=np.uint8).T.copy())


class _Pixels:
    """The visible pixels, sorted by the number of their shape, so that each shape is one slice."""

    def __init__(
        self, scene: Scene, x: Array, y: Array, depth: Array, ids: NDArray[np.uint16], sheet_depths: list[Array]
    ) -> None:
        self.scene, self.shape = scene, depth.shape
        flat = ids.ravel()
        self.order = np.argsort(flat, kind="stable")
        total = len(scene.backdrop.sheets) + sum(len(thing.pieces) for thing in scene.things)
        self.bounds = np.searchsorted(flat[self.order], np.arange(total + 1)).tolist()
        self._back = np.empty_like(self.order)
        self._back[self.order] = np.arange(len(self.order))
        self.points = _gather(np.stack([x * depth, y * depth, -depth]).reshape(3, -1), self.order)
        self.normal = np.empty_like(self.points)
        self.albedo = np.empty_like(self.points)
        self.gloss = np.zeros(flat.shape, dtype=np.float32)
        self._sheets(x, y, sheet_depths)
        self._things()

    def _sheets(self, x: Array, y: Array, depths: list[Array]) -> None:
        blended: dict[int, Array] = {}
        for i, (sheet, depth) in enumerate(zip(self.scene.backdrop.sheets, depths, strict=True)):
            part = slice(self.bounds[i], self.bounds[i + 1])
            if part.start == part.stop:
                continue
            if id(depth) not in blended:
                blended[id(depth)] = sheet_normals(depth, x, y).reshape(3, -1)
            self.normal[:, part] = _gather(blended[id(depth)], self.order[part])
            self.albedo[:, part] = sheet.paint.albedo(self.points[:, part])
        self._shadows(slice(0, self.bounds[len(depths)]))

    def _shadows(self, part: slice) -> None:
        """Darken the surroundings where things stand, and along the way that the light throws."""
        up, light = self.scene.up, self.scene.light.direction
        flat = light - (light @ up) * up
        ahead = np.cross(up, [1.0, 0.0, 0.0])
        axes = np.stack([[1.0, 0.0, 0.0], ahead, up]).astype(np.float32)
        ground = axes @ self.points[:, part]
        darkness = np.zeros(ground.shape[1], dtype=np.float32)
        for thing in self.scene.things:
            if thing.reach == 0:
                continue
            foot = thing.place.base - flat * thing.reach * 0.6
            across, along, rise = ground - (axes @ foot.astype(np.float32))[:, None]
            away = across**2 + (along * np.float32(1.3)) ** 2 + rise**2
            size = np.float32((thing.reach * 1.05) ** 2)
            near = np.flatnonzero(away < 4 * size)
            darkness[near] += np.exp(away[near] * (np.float32(-1.6) / size))
        self.albedo[:, part] *= 1 - np.float32(0.62) * np.minimum(darkness, 1)

    def _things(self) -> None:
        number = len(self.scene.backdrop.sheets)
        for thing in self.scene.things:
            for piece, start, stop in zip(thing.pieces, self.bounds[number:], self.bounds[number + 1 :], strict=False):
                if start < stop:
                    self.normal[:, start:stop] = piece.shape.normal(self.points[:, start:stop])
            self._paint_thing(thing, number)
            number += len(thing.pieces)

    def _paint_thing(self, thing: Thing, number: int) -> None:
        """Paint a thing whose first piece has the given number; neighbours of the same paint at once."""
        first = self.bounds[number]
        inner = thing.place.to_thing(self.points[:, first : self.bounds[number + len(thing.pieces)]])
        finishes = [thing.outfit[piece.slot] for piece in thing.pieces]
        for coat, run in groupby(range(len(finishes)), key=lambda i: finishes[i].paint):
            numbers = list(run)
            start, stop = self.bounds[number + numbers[0]], self.bounds[number + numbers[-1] + 1]
            if start < stop:
                self.albedo[:, start:stop] = coat.albedo(inner[:, start - first : stop - first])
                self.gloss[start:stop] = coat.gloss
        for i, (piece, finish) in enumerate(zip(thing.pieces, finishes, strict=True), start=number):
            part = slice(self.bounds[i], self.bounds[i + 1])
            if finish.drawing is not None and part.start < part.stop:
                finish.drawing(piece.shape.local(self.points[:, part]), self.albedo[:, part])

    def colours(self) -> Array:
        """Lit colours (3, n), in image order."""
        light, normal = self.scene.light, self.normal
        facing = np.maximum(light.direction.astype(np.float32) @ normal, 0)
        sky = self.scene.up.astype(np.float32) @ normal
        shade = (
            np.float32(light.ambient) * (np.float32(0.85) + np.float32(0.15) * sky)
            + np.float32(light.strength) * facing
        )
        lit = self.albedo * shade * light.colour.astype(np.float32)[:, None]
        shiny = np.flatnonzero(self.gloss)
        if shiny.size:
            half = light.direction + np.array([0, 0, 1.0])
            half /= np.linalg.norm(half)
            spark = np.maximum(half.astype(np.float32) @ normal[:, shiny], 0) ** 2
            for _ in range(4):
                spark *= spark
            lit[:, shiny] += np.float32(0.7) * spark * self.gloss[shiny]
        if light.haze:
            clear = np.exp(np.float32(light.haze) * self.points[2])
            lit = lit * clear + light.haze_colour.astype(np.float32)[:, None] * (1 - clear)
        return self._in_image_order(lit)

    def normals(self) -> Array:
        """Normals (3, S, S)."""
        return self._in_image_order(self.normal).reshape(3, *self.shape)

    def _in_image_order(self, values: Array) -> Array:
        return _gather(values, self._back)


def _gather(values: Array, order: NDArray[np.intp]) -> Array:
    """values[:, order], row by row (several times faster than the fancy index)."""
    result = np.empty((len(values), len(order)), dtype=np.float32)
    for row, out in zip(values, result, strict=True):
        np.take(row, order, out=out, mode="clip")
    return result


@cache
def _noise_plate() -> Array:
    """A fixed plate (3, 1024, 1024) of sensor noise, 512 wide and repeated; each picture uses another piece of it."""
    rng = np.random.Generator(np.random.SFC64(7))
    plate: Array = np.pad(rng.standard_normal((3, 512, 512), dtype=np.float32), ((0, 0), (0, 512), (0, 512)), "wrap")
    plate.flags.writeable = False
    return plate


def _finish(colours: Array, ids: NDArray[np.uint16], instance: Bytes, scene: Scene, size: int) -> Bytes:
    """The lens and the sensor: uint8 (S, S, 3).

    Blur stays within an instance, so that a counterfactual differs nowhere but inside its own mask.
    """
    image = colours.reshape(3, size, size)
    if scene.sensor.soft:
        owner = instance[ids]
        image = _blurred(_blurred(image, owner, 1), owner, 2)
    row, column = scene.sensor.offset
    plate = _noise_plate()
    noise = plate[:, row : row + size, column : column + size]
    image = image + np.float32(scene.sensor.noise) * noise
    np.clip(image, 0, 1, out=image)
    image *= np.float32(255)
    image += np.float32(0.5)
    picture = np.empty((size, size, 3), dtype=np.uint8)
    for channel in range(3):
        picture[..., channel] = image[channel]
    return picture


def _blurred(image: Array, owner: Bytes, axis: int) -> Array:
    """A (1, 2, 1) / 4 blur along an image axis, taking over no colour from another instance."""
    result = image.copy()
    ahead = [slice(None)] * 3
    behind = [slice(None)] * 3
    ahead[axis], behind[axis] = slice(1, None), slice(None, -1)
    a, b = tuple(ahead), tuple(behind)
    step = (image[a] - image[b]) * np.float32(0.25) * (owner[a[1:]] == owner[b[1:]])
    result[b] += step
    result[a] -= step
    return result


def _saliency(instance: Bytes, scene: Scene) -> Bytes:
    """The largest visible object, and any other at least half as large."""
    areas = object_areas(scene, instance)
    chosen = (areas > 0) & (areas >= 0.5 * areas.max())
    return chosen.astype(np.uint8)[instance]


def object_areas(scene: Scene, instance: Bytes) -> NDArray[np.intp]:
    """Visible pixels of each thing, after a 0 for the surroundings; clutter counts as 0."""
    areas = np.bincount(instance.ravel(), minlength=len(scene.things) + 1)
    areas[[0, *(i for i, thing in enumerate(scene.things, start=1) if not thing.label)]] = 0
    return areas


def boundaries(regions: NDArray[np.generic]) -> Bytes:
    """Boundary map uint8 (..., h, w) of region maps: 1 where the region to the right or below is another."""
    edge = np.zeros(regions.shape, dtype=np.uint8)
    edge[..., :, :-1] |= regions[..., :, :-1] != regions[..., :, 1:]
    edge[..., :-1, :] |= regions[..., :-1, :] != regions[..., 1:, :]
    return edge
