"""Shapes that are ray-cast into a z-buffer: depth per pixel first, normals of what stayed visible afterwards.

The camera stands at the origin and looks along -z; x points right, y up. A pixel's ray is q = (X, Y, -1), so the
point at depth D (metres along the optical axis) is D * q. A shape answers three questions: where it can be seen
(`corners`), at which depth a ray meets it (`depth`), and the normal at a point of its surface (`normal`).
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from dataclasses import dataclass, replace
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float32]
Vector = NDArray[np.float64]

Bounds = tuple[float, float, float, float]

NEAREST = 0.05
EVERYWHERE: Bounds = (-math.inf, math.inf, -math.inf, math.inf)
_SIGNS = np.array([[x, y, z] for x in (-1, 1) for y in (-1, 1) for z in (-1, 1)], dtype=np.float64).T


def rays(size: int, field: float) -> tuple[Array, Array]:
    """Image-plane coordinates of the pixel centres: X (1, size) to the right, Y (size, 1) upwards, within +-field."""
    x = (((np.arange(size) + 0.5) * 2 / size - 1) * field).astype(np.float32)
    return x[None, :], -x[:, None]


def turn_x(angle: float) -> Vector:
    """The rotation about x by `angle` radians, y towards z."""
    c, s = np.cos(angle), np.sin(angle)
    return np.array([[1, 0, 0], [0, c, -s], [0, s, c]])


def turn_y(angle: float) -> Vector:
    """The rotation about y by `angle` radians, z towards x."""
    c, s = np.cos(angle), np.sin(angle)
    return np.array([[c, 0, s], [0, 1, 0], [-s, 0, c]])


def turn_z(angle: float) -> Vector:
    """The rotation about z by `angle` radians, x towards y."""
    c, s = np.cos(angle), np.sin(angle)
    return np.array([[c, -s, 0], [s, c, 0], [0, 0, 1]])


@dataclass(frozen=True, eq=False)
class Placement:
    """Where a thing stands: camera point = scale * rotation @ thing point + base."""

    rotation: Vector
    scale: float
    base: Vector

    def to_camera(self, points: Vector) -> Vector:
        """Thing coordinates (3,) to camera coordinates (3,)."""
        return self.scale * (self.rotation @ points) + self.base

    def to_thing(self, points: Array) -> Array:
        """Camera coordinates (3, n) to thing coordinates (3, n)."""
        back = (self.rotation.T / self.scale).astype(np.float32)
        return back @ points - (back @ self.base.astype(np.float32))[:, None]


@dataclass(frozen=True, eq=False)
class Frame:
    """Local axes of a shape: camera point = axes @ local point + centre, the columns of axes orthogonal."""

    axes: Vector
    centre: Vector

    @property
    def inverse(self) -> Vector:
        """The (3, 3) matrix that turns camera differences into local ones."""
        inverse: Vector = self.axes.T / (self.axes**2).sum(0)[:, None]
        return inverse

    def placed(self, place: Placement) -> Frame:
        """The same frame, seen from the camera."""
        return Frame(place.scale * (place.rotation @ self.axes), place.to_camera(self.centre))

    def local(self, points: Array) -> Array:
        """Camera coordinates (3, n) to local coordinates (3, n)."""
        inverse = self.inverse
        return inverse.astype(np.float32) @ points - (inverse @ self.centre).astype(np.float32)[:, None]

    def turned(self, normals: Array) -> Array:
        """Local gradients (3, n) to unit camera normals (3, n)."""
        return unit(self.inverse.T.astype(np.float32) @ normals)


def frame(radii: tuple[float, float, float], centre: Vector, rotation: Vector | None = None) -> Frame:
    """A frame whose unit local axes are `radii` long."""
    axes = np.diag(np.asarray(radii, dtype=np.float64))
    return Frame(axes if rotation is None else rotation @ axes, np.asarray(centre, dtype=np.float64))


def unit(vectors: Array) -> Array:
    """Vectors (3, n) scaled to length one."""
    length = np.sqrt(vectors[0] ** 2 + vectors[1] ** 2 + vectors[2] ** 2)
    result: Array = vectors / np.maximum(length, np.float32(1e-9))
    return result


class Shape(Protocol):
    """What the painter asks of a shape."""

    def placed(self, place: Placement) -> Shape:
        """The shape in camera coordinates."""

    def corners(self) -> Vector:
        """Points (3, k) whose convex hull encloses the shape."""

    def bounds(self) -> Bounds:
        """Where the picture of the placed shape can lie in the image plane: left, right, low, high."""

    def local(self, points: Array) -> Array:
        """Camera points (3, n) in the shape's own coordinates, for what is drawn on it."""

    def depth(self, x: Array, y: Array) -> Array:
        """Depth (h, w) at which the rays x (1, w), y (h, 1) meet the shape first; inf where they miss it."""

    def normal(self, points: Array) -> Array:
        """Unit normals (3, n) at surface points (3, n)."""


class _Framed(ABC):
    """What the shapes with a frame of their own have in common."""

    frame: Frame

    @abstractmethod
    def corners(self) -> Vector:
        """Points (3, k) whose convex hull encloses the shape."""

    def bounds(self) -> Bounds:
        """Left, right, low and high end of the picture in the image plane."""
        corners = self.corners()
        if corners[2].max() > -NEAREST:
            return EVERYWHERE
        x, y = corners[:2] / -corners[2]
        return float(x.min()), float(x.max()), float(y.min()), float(y.max())

    def local(self, points: Array) -> Array:
        """Camera points (3, n) in the shape's own coordinates."""
        return self.frame.local(points)


def _affine(v: Vector, x: Array, y: Array) -> Array:
    """v . (X, Y, -1) for every ray."""
    v = v.astype(np.float32)
    result: Array = (v[0] * x - v[2]) + v[1] * y
    return result


def _quadratic(a: Vector, x: Array, y: Array) -> Array:
    """q' a q for every ray q = (X, Y, -1) and a symmetric matrix a."""
    a = a.astype(np.float32)
    row = (a[0, 0] * x - 2 * a[0, 2]) * x + a[2, 2]
    column = (a[1, 1] * y - 2 * a[1, 2]) * y
    result: Array = (2 * a[0, 1] * y) * x + row + column
    return result


@dataclass(frozen=True, eq=False)
class Quadric(_Framed):
    """A solid of revolution about local y, x^2 + z^2 = c0 + c1 y + c2 y^2 for low <= y <= high, closed by discs.

    Ellipsoids (1, 0, -1), cylinders (1, 0, 0), cones, paraboloids and the waists of vases (c2 > 0) are of this form.
    """

    frame: Frame
    profile: tuple[float, float, float] = (1.0, 0.0, -1.0)
    low: float = -1.0
    high: float = 1.0

    def placed(self, place: Placement) -> Quadric:
        """The shape in camera coordinates."""
        return Quadric(self.frame.placed(place), self.profile, self.low, self.high)

    @property
    def _is_ellipsoid(self) -> bool:
        return self.profile == (1.0, 0.0, -1.0) and (self.low, self.high) == (-1.0, 1.0)

    def _squared_radius(self, y: Array | float) -> Array:
        c0, c1, c2 = self.profile
        return np.asarray(c0 + (c1 + c2 * y) * y, dtype=np.float32)

    def corners(self) -> Vector:
        """Corners (3, 8) of the enclosing box."""
        c0, c1, c2 = self.profile
        widest = min(max(-c1 / (2 * c2), self.low), self.high) if c2 < 0 else self.low
        reach = max(c0 + (c1 + c2 * y) * y for y in (self.low, widest, self.high)) ** 0.5
        box = _SIGNS * reach
        box[1] = np.where(_SIGNS[1] > 0, self.high, self.low)
        return self.frame.axes @ box + self.frame.centre[:, None]

    def depth(self, x: Array, y: Array) -> Array:
        """Depth (h, w) of the first meeting; inf where the rays miss."""
        c0, c1, c2 = self.profile
        m = self.frame.inverse
        ox, oy, oz = o = -m @ self.frame.centre
        a = _quadratic(m.T @ np.diag([1.0, -c2, 1.0]) @ m, x, y)
        b = _affine(m.T @ np.array([ox, -c2 * oy - c1 / 2, oz]), x, y)
        c = np.float32(ox * ox + oz * oz - c0 - (c1 + c2 * oy) * oy)
        root2 = b * b - a * c
        # of the two roots this one enters the solid; the other, where the ray leaves it, is never seen
        meeting: Array = (-b - np.sqrt(np.maximum(root2, 0))) / a
        meeting[(root2 < 0) | (meeting < NEAREST)] = np.inf
        if self._is_ellipsoid:
            return meeting
        d = [_affine(row, x, y) for row in m]
        height = oy + meeting * d[1]
        rim = 1e-3 * (self.high - self.low)
        meeting[~((height > self.low - rim) & (height < self.high + rim))] = np.inf
        if oy > self.high or oy < self.low:  # then, and only then, a closing disc faces the camera
            end = self.high if oy > self.high else self.low
            disc = np.float32(end - oy) / d[1]
            inside = (o[0] + disc * d[0]) ** 2 + (o[2] + disc * d[2]) ** 2 <= self._squared_radius(end)
            np.copyto(meeting, disc, where=inside & (disc > NEAREST) & (disc < meeting))
        return meeting

    def normal(self, points: Array) -> Array:
        """Unit normals (3, n)."""
        _, c1, c2 = self.profile
        x, y, z = p = self.frame.local(points)
        gradient = np.stack([x, -np.float32(c2) * y - np.float32(c1 / 2), z])
        if not self._is_ellipsoid:
            span = 0.004 * (self.high - self.low)
            inner = x * x + z * z < 0.998 * self._squared_radius(y)
            for end, sign in ((self.high, 1.0), (self.low, -1.0)):
                disc = inner & (abs(p[1] - end) < span)
                gradient[:, disc] = np.array([[0], [sign], [0]], dtype=np.float32)
        return self.frame.turned(gradient)


@dataclass(frozen=True, eq=False)
class Stroke:
    """A limb: a ball that moves from `start` to `end` while its radius goes from r0 to r1 (weak perspective)."""

    start: Vector
    end: Vector
    r0: float
    r1: float

    def placed(self, place: Placement) -> Stroke:
        """The shape in camera coordinates."""
        s = place.scale
        return Stroke(place.to_camera(self.start), place.to_camera(self.end), self.r0 * s, self.r1 * s)

    def corners(self) -> Vector:
        """Corners (3, 16) of the boxes about both ends."""
        return np.concatenate([self.start[:, None] + self.r0 * _SIGNS, self.end[:, None] + self.r1 * _SIGNS], axis=1)

    def bounds(self) -> Bounds:
        """Left, right, low and high end of the picture in the image plane."""
        ends = []
        for (x, y, z), r in ((self.start.tolist(), self.r0), (self.end.tolist(), self.r1)):
            near, far = -z - r, -z + r
            if near < NEAREST:
                return EVERYWHERE
            ends.append(
                [
                    edge / (near if (edge < 0) == low else far)
                    for edge, low in ((x - r, True), (x + r, False), (y - r, True), (y + r, False))
                ]
            )
        (a, b, c, d), (e, f, g, h) = ends
        return min(a, e), max(b, f), min(c, g), max(d, h)

    def local(self, points: Array) -> Array:
        """Camera points (3, n) relative to the start."""
        result: Array = points - self.start.astype(np.float32)[:, None]
        return result

    def _nearest(self, x: Array, y: Array) -> tuple[Array, Array, Array]:
        """The axis point nearest to each ray in the image: how far along it is (0..1), and the offsets to it."""
        (ax, ay), (ux, uy) = self._track()
        inverse = 1.0 / (ux * ux + uy * uy + 1e-9)
        t: Array = (x - ax) * (ux * inverse) + (y - ay) * (uy * inverse)
        np.clip(t, 0, 1, out=t)
        dx: Array = (x - ax) - ux * t
        dy: Array = (y - ay) - uy * t
        return t, dx, dy

    def _track(self) -> tuple[tuple[float, float], tuple[float, float]]:
        """Start and direction of the axis in the image plane."""
        x0, y0, z0 = self.start.tolist()
        x1, y1, z1 = self.end.tolist()
        ax, ay = -x0 / z0, -y0 / z0
        return (ax, ay), (-x1 / z1 - ax, -y1 / z1 - ay)

    def _size(self, t: Array) -> tuple[Array, Array]:
        """Depth of the axis, and radius, at t along it."""
        z0, z1 = float(self.start[2]), float(self.end[2])
        depth: Array = (z0 - z1) * t - z0
        radius: Array = float(self.r0) + float(self.r1 - self.r0) * t
        return depth, radius

    def depth(self, x: Array, y: Array) -> Array:
        """Depth (h, w) of the first meeting; inf where the rays miss."""
        t, dx, dy = self._nearest(x, y)
        z, r = self._size(t)
        rise2 = r * r - (dx * dx + dy * dy) * (z * z)
        meeting: Array = z - np.sqrt(np.maximum(rise2, 0))
        meeting[(rise2 < 0) | (meeting < NEAREST)] = np.inf
        return meeting

    def normal(self, points: Array) -> Array:
        """Unit normals (3, n): of the balls at the ends, and between them across the axis, taper included."""
        depth = -points[2]
        t, dx, dy = self._nearest(points[0] / depth, points[1] / depth)
        z, r = self._size(t)
        rise = z - depth
        normals = np.stack([dx * z, dy * z, rise])
        _, (ux, uy) = self._track()
        length = math.hypot(ux, uy)
        if length > 1e-6:
            px, py = -uy / length, ux / length  # across the axis, in the image
            ax, ay, az = (self.end - self.start).tolist()
            side = normals[0] * px + normals[1] * py
            lean = az * rise + float(self.r1 - self.r0) * r
            # the cross product of the tangents (ax, ay, az + r r' / rise) and (px, py, -side / rise), times rise
            slanted = np.stack([-ay * side - py * lean, ax * side + px * lean, (ax * py - ay * px) * rise])
            np.copyto(normals, slanted, where=(t > 0) & (t < 1))
        return unit(normals)


@dataclass(frozen=True, eq=False)
class Box(_Framed):
    """The cube |x|, |y|, |z| <= 1 of its frame."""

    frame: Frame

    def placed(self, place: Placement) -> Box:
        """The shape in camera coordinates."""
        return Box(self.frame.placed(place))

    def corners(self) -> Vector:
        """The corners (3, 8)."""
        return self.frame.axes @ _SIGNS + self.frame.centre[:, None]

    def depth(self, x: Array, y: Array) -> Array:
        """Depth (h, w) of the first meeting; inf where the rays miss."""
        m = self.frame.inverse
        o = (-m @ self.frame.centre).astype(np.float32)
        d = [_affine(row, x, y) for row in m]
        meeting = np.full((y.shape[0], x.shape[1]), np.inf, dtype=np.float32)
        for axis in range(3):
            if abs(o[axis]) <= 1:  # neither face of this axis turns towards the camera
                continue
            face = (np.sign(o[axis]) - o[axis]) / d[axis]
            j, k = (axis + 1) % 3, (axis + 2) % 3
            inside = (abs(o[j] + face * d[j]) <= 1) & (abs(o[k] + face * d[k]) <= 1) & (face > NEAREST)
            np.copyto(meeting, face, where=inside)
        return meeting

    def normal(self, points: Array) -> Array:
        """Unit normals (3, n)."""
        p = self.frame.local(points)
        axis = abs(p).argmax(0)
        gradient = np.where(axis == np.arange(3)[:, None], np.sign(p), 0).astype(np.float32)
        return self.frame.turned(gradient)


class _Traced(_Framed):
    """Shapes found by walking along the ray as far as the signed distance allows; frames scale all axes alike."""

    frame: Frame
    steps = 14

    @abstractmethod
    def reach(self) -> Vector:
        """Half sides (3,) of the enclosing local box."""

    @abstractmethod
    def distance(self, px: Array, py: Array, pz: Array) -> Array:
        """Signed distance in local units."""

    def corners(self) -> Vector:
        """Corners (3, 8) of the enclosing box."""
        return self.frame.axes @ (_SIGNS * self.reach()[:, None]) + self.frame.centre[:, None]

    def depth(self, x: Array, y: Array) -> Array:
        """Depth (h, w) of the first meeting; inf where the rays miss."""
        m = self.frame.inverse
        o = (-m @ self.frame.centre).astype(np.float32)
        d = [_affine(row, x, y) for row in m]
        stride = 1 / np.sqrt(d[0] ** 2 + d[1] ** 2 + d[2] ** 2)
        radius = np.linalg.norm(self.reach()).astype(np.float32)
        # start where the ray comes closest to the enclosing ball
        along = -(o[0] * d[0] + o[1] * d[1] + o[2] * d[2]) * stride * stride
        t: Array = np.maximum(along - radius * stride, np.float32(NEAREST))
        gap = stride
        for _ in range(self.steps):
            gap = self.distance(o[0] + t * d[0], o[1] + t * d[1], o[2] + t * d[2])
            t = t + gap * stride
        t[gap > 0.02] = np.inf
        return t


@dataclass(frozen=True, eq=False)
class Torus(_Traced):
    """A ring about local y with radius 1 and the given thickness (the tube's radius)."""

    frame: Frame
    thickness: float

    def placed(self, place: Placement) -> Torus:
        """The shape in camera coordinates."""
        return replace(self, frame=self.frame.placed(place))

    def reach(self) -> Vector:
        """Half sides (3,) of the enclosing local box."""
        return np.array([1 + self.thickness, self.thickness, 1 + self.thickness])

    def distance(self, px: Array, py: Array, pz: Array) -> Array:
        """Signed distance in local units."""
        ring = np.sqrt(px * px + pz * pz) - np.float32(1)
        result: Array = np.sqrt(ring * ring + py * py) - np.float32(self.thickness)
        return result

    def normal(self, points: Array) -> Array:
        """Unit normals (3, n)."""
        x, y, z = self.frame.local(points)
        pull = 1 - 1 / np.maximum(np.sqrt(x * x + z * z), np.float32(1e-6))
        return self.frame.turned(np.stack([x * pull, y, z * pull]))


@dataclass(frozen=True, eq=False)
class RoundedBox(_Traced):
    """A box with half sides `half`, its edges rounded with `radius` (local units): cushions, mattresses, sofas."""

    frame: Frame
    half: tuple[float, float, float]
    radius: float
    steps = 10

    def placed(self, place: Placement) -> RoundedBox:
        """The shape in camera coordinates."""
        return replace(self, frame=self.frame.placed(place))

    def reach(self) -> Vector:
        """Half sides (3,) of the enclosing local box."""
        return np.array(self.half)

    def distance(self, px: Array, py: Array, pz: Array) -> Array:
        """Signed distance in local units (of the outside; the inside is never walked)."""
        total = np.float32(0)
        for p, half in zip((px, py, pz), self.half, strict=True):
            total = total + np.maximum(abs(p) - np.float32(half - self.radius), 0) ** 2
        result: Array = np.sqrt(total) - np.float32(self.radius)
        return result

    def normal(self, points: Array) -> Array:
        """Unit normals (3, n)."""
        p = self.frame.local(points)
        core = (np.array(self.half) - self.radius).astype(np.float32)[:, None]
        return self.frame.turned(np.sign(p) * np.maximum(abs(p) - core, np.float32(1e-6)))


def window(bounds: Bounds, size: int, field: float) -> tuple[slice, slice]:
    """Rows and columns of the size x size image that show what lies within the bounds; empty if outside the image."""
    left, right, low, high = (min(max(value, -field), field) for value in bounds)
    scale = size / (2 * field)
    rows = slice(int((field - high) * scale), math.ceil((field - low) * scale))
    columns = slice(int((left + field) * scale), math.ceil((right + field) * scale))
    return rows, columns


def draw(shape: Shape, number: int, depth: Array, ids: NDArray[np.uint16], x: Array, y: Array, field: float) -> None:
    """Put the shape into the z-buffer: depth (size, size) and, where it is nearest, its number into ids."""
    view = rows, columns = window(shape.bounds(), depth.shape[0], field)
    if rows.start >= rows.stop or columns.start >= columns.stop:
        return
    meeting = shape.depth(x[:, columns], y[rows])
    nearer = meeting < depth[view]
    np.copyto(depth[view], meeting, where=nearer)
    np.copyto(ids[view], np.uint16(number), where=nearer)
