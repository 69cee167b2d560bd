"""Bodies with limbs: people and four-legged animals, posed at random, in thing coordinates.

Feet are at y = 0, and a figure faces +z.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from sakbench.data.miniworld.geometry import Placement, Quadric, Shape, Stroke, Vector, frame, turn_x, turn_y, turn_z


@dataclass(frozen=True, eq=False)
class Piece:
    """A shape of a thing: `name` is unique within the thing where it is a part of its own, `slot` chooses its paint."""

    shape: Shape
    slot: str
    name: str


def limb(slot: str, name: str, start: Vector, end: Vector, r0: float, r1: float) -> Piece:
    """A tapered limb between two points."""
    return Piece(Stroke(start, end, r0, r1), slot, name)


def blob(
    slot: str, name: str, centre: Vector, radii: tuple[float, float, float], rotation: Vector | None = None
) -> Piece:
    """An ellipsoid."""
    return Piece(Quadric(frame(radii, centre, rotation)), slot, name)


def _aim(pitch: float, spread: float) -> Vector:
    """The direction of a hanging limb, swung forwards by pitch and outwards (towards +x) by spread."""
    return np.array([np.sin(spread), -np.cos(spread) * np.cos(pitch), np.cos(spread) * np.sin(pitch)])


@dataclass(frozen=True)
class Pose:
    """Joint angles in radians, left then right."""

    lean: float
    hips: tuple[tuple[float, float], tuple[float, float]]
    knees: tuple[float, float]
    shoulders: tuple[tuple[float, float], tuple[float, float]]
    elbows: tuple[float, float]


def _pose(rng: np.random.Generator) -> Pose:
    u = rng.uniform
    kind = rng.random()
    lean = u(-0.1, 0.15)
    shoulders = [(u(-0.5, 0.5), u(0.12, 0.5)) for _ in range(2)]
    elbows = [u(0.0, 0.9) for _ in range(2)]
    if kind < 0.45:  # stands or walks
        stride = u(-0.55, 0.55)
        hips = [(stride, u(0.02, 0.15)), (-stride, u(0.02, 0.15))]
        knees = [u(0, 0.5), u(0, 0.5)]
    elif kind < 0.6:  # legs apart
        hips = [(u(-0.1, 0.2), u(0.2, 0.5)) for _ in range(2)]
        knees = [u(0, 0.25) for _ in range(2)]
    elif kind < 0.75:  # sits or crouches
        hips = [(u(1.0, 1.5), u(0.1, 0.5)) for _ in range(2)]
        knees = [u(1.2, 1.7) for _ in range(2)]
        lean = u(-0.1, 0.3)
    else:  # runs
        hips = [(u(0.4, 1.0), u(0.03, 0.15)), (u(-0.8, -0.2), u(0.03, 0.15))]
        knees = [u(0.5, 1.3), u(0.2, 0.9)]
        lean = u(0.1, 0.35)
        elbows = [u(0.8, 1.6) for _ in range(2)]
    for side in range(2):
        if rng.random() < 0.4:  # an arm is lifted: sideways, up, or forwards
            shoulders[side] = (u(-0.3, 0.8), u(1.1, 2.7))
            elbows[side] = u(0.0, 0.7)
    return Pose(lean, (hips[0], hips[1]), (knees[0], knees[1]), (shoulders[0], shoulders[1]), (elbows[0], elbows[1]))


def person(rng: np.random.Generator) -> list[Piece]:
    """A person one unit tall when upright; pieces are named after the six parts, with the side of each limb."""
    pose, u = _pose(rng), rng.uniform
    girth = u(0.85, 1.25)
    head_size = u(0.95, 1.25)
    trunk = turn_x(pose.lean) @ turn_z(u(-0.08, 0.08))
    chest = trunk @ np.array([0, 0.29, 0])

    def across(reach: float, height: float) -> tuple[Vector, Vector]:
        return trunk @ np.array([-reach, height, 0]), trunk @ np.array([reach, height, 0])

    pieces = [
        blob("torso", "torso", trunk @ np.array([0, 0.16, 0]), (0.115 * girth, 0.2, 0.08 * girth), trunk),
        limb("torso", "torso", *across(0.105 * girth, 0.275), 0.05, 0.05),
        limb("torso", "torso", *across(0.06 * girth, 0.015), 0.075, 0.075),
    ]
    look = trunk @ turn_y(u(-0.6, 0.6)) @ turn_x(u(-0.2, 0.15))
    head = chest + look @ np.array([0, 0.125 + 0.03 * head_size, 0.01])
    pieces += [
        limb("neck", "head", chest, head, 0.038, 0.036),
        blob("head", "head", head, (0.072 * head_size, 0.092 * head_size, 0.08 * head_size), look),
    ]
    for side, label in ((-1, "left"), (1, "right")):
        i = (side + 1) // 2
        mirror = np.array([side, 1, 1])
        pitch, spread = pose.shoulders[i]
        shoulder = trunk @ np.array([side * 0.13 * girth, 0.275, 0])
        elbow = shoulder + 0.155 * (trunk @ (mirror * _aim(pitch, spread)))
        hand = elbow + 0.15 * (trunk @ (mirror * _aim(pitch + pose.elbows[i], spread * u(0.7, 1.15))))
        pieces += [
            limb("upper arm", f"{label} upper arm", shoulder, elbow, 0.047 * girth, 0.038),
            limb("lower arm", f"{label} lower arm", elbow, hand, 0.038, 0.029),
            blob("hand", f"{label} lower arm", hand + 0.02 * _aim(pitch, 0), (0.036, 0.042, 0.036)),
        ]
        pitch, spread = pose.hips[i]
        hip = np.array([side * 0.065 * girth, 0.0, 0.0])
        knee = hip + 0.23 * (mirror * _aim(pitch, spread))
        bent = mirror * _aim(pitch - pose.knees[i], spread * 0.6)
        ankle = knee + 0.22 * bent
        toe = ankle + np.array([side * 0.02, -0.012, 0.062])
        pieces += [
            limb("upper leg", f"{label} upper leg", hip, knee, 0.075 * girth, 0.055),
            limb("lower leg", f"{label} lower leg", knee, ankle, 0.053, 0.036),
            limb("foot", f"{label} lower leg", ankle, toe, 0.036, 0.03),
        ]
    return on_ground(pieces)


def animal(rng: np.random.Generator) -> list[Piece]:
    """A cat or a dog, about 1.3 long and 1 tall: one geometry for both."""
    u = rng.uniform
    sits = rng.random() < 0.3
    rump, chest = np.array([-0.36, 0.48, 0.0]), np.array([0.26, 0.52, 0.0])
    if sits:
        rump, chest = np.array([-0.18, 0.24, 0.0]), np.array([0.1, 0.58, 0.0])
    fat = u(0.85, 1.15)
    pieces = [limb("body", "body", rump, chest, 0.185 * fat, 0.175 * fat)]
    head = chest + np.array([u(0.14, 0.24), u(0.22, 0.36), u(0.0, 0.1)])
    pieces.append(limb("body", "body", chest, head, 0.14, 0.11))
    look = turn_y(u(-0.3, 0.9)) @ turn_z(u(-0.2, 0.2)) @ turn_x(u(-0.05, 0.2))
    pieces.append(blob("head", "head", head, (0.19, 0.175, 0.17), look))
    pieces.append(blob("muzzle", "head", head + look @ np.array([0, -0.055, 0.14]), (0.085, 0.068, 0.09), look))
    for side in (-1, 1):
        root = head + look @ np.array([side * 0.115, 0.11, 0.0])
        tip = head + look @ np.array([side * u(0.14, 0.2), u(0.22, 0.28), -0.01])
        pieces.append(limb("ear", "ears", root, tip, 0.066, 0.018))
    for side in (-1, 1):
        stride = u(-0.2, 0.2)
        for along, joint in ((rump, "hind"), (chest, "front")):
            name = f"{joint} legs"
            top = along + np.array([0.0, -0.05, side * 0.1])
            if sits and joint == "hind":
                knee, foot = top + np.array([0.18, 0.02, side * 0.07]), np.array([top[0] + 0.2, 0.05, side * 0.18])
            else:
                swing = stride if joint == "hind" else -stride
                foot = np.array([top[0] + swing, 0.05, side * 0.11])
                knee = (top + foot) / 2 + np.array([-0.05 if joint == "hind" else 0.03, 0.0, 0.0])
            pieces += [
                limb("leg", name, top, knee, 0.105, 0.066),
                limb("leg", name, knee, foot, 0.064, 0.05),
                limb("paw", name, foot, foot + np.array([0.055, -0.01, 0]), 0.056, 0.05),
            ]
    bend = u(-0.1, 0.3)
    base = rump + np.array([-0.14, 0.04, 0.0])
    middle = base + np.array([-0.17, bend, u(-0.08, 0.08)])
    tip = middle + np.array([u(-0.12, 0.06), u(0.05, 0.2), u(-0.08, 0.08)])
    pieces += [limb("tail", "tail", base, middle, 0.05, 0.042), limb("tail", "tail", middle, tip, 0.042, 0.03)]
    return on_ground(pieces)


def lowest(pieces: list[Piece]) -> float:
    """The smallest y of the pieces' enclosing boxes."""
    return float(min(piece.shape.corners()[1].min() for piece in pieces))


def on_ground(pieces: list[Piece]) -> list[Piece]:
    """The pieces, shifted so that the lowest stands on y = 0; patterns move with them."""
    place = Placement(np.eye(3), 1.0, np.array([0.0, -lowest(pieces), 0.0]))
    return [Piece(p.shape.placed(place), p.slot, p.name) for p in pieces]
