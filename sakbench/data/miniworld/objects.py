"""Solid things in thing coordinates (standing on y = 0, about one unit tall), built from the shapes of `geometry`."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from sakbench.data.miniworld.figures import Piece, animal, blob, on_ground, person
from sakbench.data.miniworld.geometry import (
    Box,
    Placement,
    Quadric,
    RoundedBox,
    Stroke,
    Torus,
    Vector,
    frame,
    turn_x,
    turn_y,
    turn_z,
)

CYLINDER = (1.0, 0.0, 0.0)
Builder = Callable[[np.random.Generator], list[Piece]]


def turned_solid(
    slot: str, name: str, low: float, high: float, r_low: float, r_high: float, waist: float = 0.0
) -> Piece:
    """A solid of revolution about the y axis from y = low to high; `waist` > 0 bulges it, < 0 draws it in.

    The squared radius is quadratic in y: r_low^2 and r_high^2 at the ends, plus `waist` at most in the middle.
    """
    half, middle = (high - low) / 2, (high + low) / 2
    mean, slope = (r_high**2 + r_low**2) / 2, (r_high**2 - r_low**2) / 2
    shape = Quadric(frame((1, half, 1), np.array([0, middle, 0])), (mean + waist, slope, -waist))
    return Piece(shape, slot, name)


def cone_solid(slot: str, name: str, low: float, high: float, r_low: float, r_high: float) -> Piece:
    """A straight-sided frustum or cone about the y axis."""
    half, middle = (high - low) / 2, (high + low) / 2
    mean, slope = (r_high + r_low) / 2, (r_high - r_low) / 2
    shape = Quadric(frame((1, half, 1), np.array([0, middle, 0])), (mean**2, 2 * mean * slope, slope**2))
    return Piece(shape, slot, name)


def block(slot: str, name: str, half: tuple[float, float, float], centre: tuple[float, float, float]) -> Piece:
    """A box with half sides `half`."""
    return Piece(Box(frame(half, np.array(centre))), slot, name)


def soft_block(
    slot: str,
    name: str,
    half: tuple[float, float, float],
    centre: tuple[float, float, float],
    radius: float,
    rotation: Vector | None = None,
) -> Piece:
    """A box with rounded edges."""
    return Piece(RoundedBox(frame((1, 1, 1), np.array(centre), rotation), half, radius), slot, name)


def post(slot: str, name: str, start: tuple[float, ...], end: tuple[float, ...], r0: float, r1: float) -> Piece:
    """A round bar."""
    return Piece(Stroke(np.array(start), np.array(end), r0, r1), slot, name)


def ball(rng: np.random.Generator) -> list[Piece]:
    """A ball or a melon: a slightly flattened sphere, turned anyhow."""
    turn = turn_z(rng.uniform(-0.9, 0.9)) @ turn_x(rng.uniform(-0.6, 0.9)) @ turn_y(rng.uniform(0, 6.3))
    flat = 0.5 * rng.uniform(0.9, 1.0)
    return on_ground([blob("body", "body", np.array([0, 0.5, 0]), (0.5, flat, 0.5), turn)])


def box(rng: np.random.Generator) -> list[Piece]:
    """A box or a crate."""
    w, d = rng.uniform(0.38, 0.62), rng.uniform(0.38, 0.6)
    return [block("body", "body", (w, 0.45, d), (0, 0.45, 0))]


def can(rng: np.random.Generator) -> list[Piece]:
    """A can: a cylinder with rims; sometimes it lies on its side."""
    r = rng.uniform(0.27, 0.36)
    pieces = [
        cone_solid("body", "body", 0.06, 0.94, r, r),
        cone_solid("rim", "lid", 0.93, 1.0, r, r * 0.9),
        cone_solid("rim", "foot", 0.0, 0.07, r * 0.9, r),
    ]
    return _tipped(pieces, rng, 0.3)


def cone(rng: np.random.Generator) -> list[Piece]:
    """A cone on a foot."""
    r = rng.uniform(0.3, 0.44)
    foot = block("foot", "foot", (r * 1.15, 0.03, r * 1.15), (0, 0.03, 0))
    return _tipped([cone_solid("body", "body", 0.05, 1.0, r, rng.uniform(0.01, 0.06)), foot], rng, 0.12)


def tree(rng: np.random.Generator) -> list[Piece]:
    """A tree: a leaning trunk and a crown of blobs, or a conifer's tiers."""
    u = rng.uniform
    top = np.array([u(-0.08, 0.08), u(0.42, 0.55), u(-0.05, 0.05)])
    r = u(0.04, 0.075)
    pieces = [Piece(Stroke(np.zeros(3), top, r, r * 0.7), "trunk", "trunk")]
    if rng.random() < 0.3:
        for i in range(3):
            low = 0.25 + 0.22 * i
            pieces.append(cone_solid("crown", "crown", low, low + 0.32, 0.34 - 0.08 * i, 0.02))
        return pieces
    for _ in range(int(u(4, 7))):
        angle, out = u(0, 6.3), u(0.05, 0.2)
        centre = np.array([top[0] + out * np.cos(angle), u(0.58, 0.82), out * np.sin(angle)])
        size = u(0.13, 0.23)
        pieces.append(blob("crown", "crown", centre, (size * u(0.9, 1.3), size, size)))
    return pieces


def vase(rng: np.random.Generator) -> list[Piece]:
    """A vase: a bulging body, a drawn-in neck and a flared lip, sometimes with handles."""
    u = rng.uniform
    shoulder, neck = u(0.55, 0.72), u(0.08, 0.14)
    foot, belly = u(0.12, 0.2), u(0.05, 0.11)
    pieces = [
        turned_solid("body", "body", 0.0, shoulder, foot, neck, belly),
        turned_solid("body", "neck", shoulder - 0.02, 1.0, neck * 1.05, neck * u(1.3, 2.0), -0.3 * neck**2),
    ]
    if rng.random() < 0.4:
        for side in (-1, 1):
            a, b = (side * neck, shoulder + 0.12, 0.0), (side * 0.29, shoulder + 0.02, 0.0)
            c = (side * 0.25, shoulder - 0.22, 0.0)
            pieces += [post("handle", "handles", a, b, 0.03, 0.03), post("handle", "handles", b, c, 0.03, 0.03)]
    return pieces


def ring(rng: np.random.Generator) -> list[Piece]:
    """A ring (torus), standing or leaning."""
    u = rng.uniform
    thickness = u(0.25, 0.42)
    size = 0.5 / (1 + thickness)
    turn = turn_x(np.pi / 2 + u(-0.7, 0.7)) @ turn_z(u(-0.8, 0.8))
    if rng.random() < 0.25:
        turn = turn_x(u(0.2, 0.6))  # it lies
    return on_ground([Piece(Torus(frame((size,) * 3, np.array([0, 0.5, 0]), turn), thickness), "body", "body")])


def cushion(rng: np.random.Generator) -> list[Piece]:
    """A cushion."""
    u = rng.uniform
    turn = turn_x(u(-0.6, 0.3)) @ turn_z(u(-0.5, 0.5))
    return on_ground([soft_block("body", "body", (u(0.4, 0.6), 0.4, u(0.15, 0.25)), (0, 0.5, 0), 0.15, turn)])


def stone(rng: np.random.Generator) -> list[Piece]:
    """A lump."""
    u = rng.uniform
    return on_ground(
        [blob("body", "body", np.array([0, 0.4, 0]), (u(0.4, 0.8), u(0.3, 0.5), u(0.3, 0.6)), turn_z(u(-0.5, 0.5)))]
    )


def stick(rng: np.random.Generator) -> list[Piece]:
    """A bar that leans."""
    u = rng.uniform
    return [post("body", "body", (0, 0.03, 0), (u(-0.8, 0.8), u(0.5, 1.0), u(-0.3, 0.3)), u(0.03, 0.08), u(0.03, 0.08))]


def mushroom(rng: np.random.Generator) -> list[Piece]:
    """A stalk with a cap."""
    u = rng.uniform
    r = u(0.25, 0.5)
    return [
        cone_solid("handle", "stalk", 0.0, 0.7, 0.14, 0.1),
        turned_solid("body", "cap", 0.55, 1.0, r, r * 0.3, 0.35 * r * r),
    ]


def bowl(rng: np.random.Generator) -> list[Piece]:
    """A bowl turned upside down."""
    r = rng.uniform(0.45, 0.7)
    return [turned_solid("body", "body", 0.0, rng.uniform(0.4, 0.7), r, r * 0.35, 0.3 * r * r)]


def _tipped(pieces: list[Piece], rng: np.random.Generator, chance: float) -> list[Piece]:
    """With the given chance, the pieces lying on their side."""
    if rng.random() >= chance:
        return pieces
    turn = turn_y(rng.uniform(-1.0, 1.0)) @ turn_z(np.pi / 2)
    place = Placement(turn, 1.0, np.zeros(3))
    return on_ground([Piece(p.shape.placed(place), p.slot, p.name) for p in pieces])


OBJECTS: dict[str, Builder] = {
    "person": person,
    "cat": animal,
    "dog": animal,
    "ball": ball,
    "melon": ball,
    "box": box,
    "crate": box,
    "can": can,
    "cone": cone,
    "tree": tree,
    "vase": vase,
    "ring": ring,
}
CLUTTER: dict[str, Builder] = {
    "stone": stone,
    "stick": stick,
    "mushroom": mushroom,
    "bowl": bowl,
    "cushion": cushion,
    "block": box,
}
