"""What a thing of each class wears: one finish (paint, and perhaps a drawing such as a face) per slot of its geometry.

Classes that share their geometry (cat and dog, ball and melon, box and crate) differ here and only here.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np

from sakbench.data.miniworld.geometry import Array
from sakbench.data.miniworld.textures import COLOURS, MOSTLY_PLAIN, Paint, Rgb, often, paint, pick, tint

Drawing = Callable[[Array, Array], None]


@dataclass(frozen=True, eq=False)
class Finish:
    """A paint, and a drawing that changes the albedo (3, n) in place, given the shape's own coordinates (3, n)."""

    paint: Paint
    drawing: Drawing | None = None


@dataclass(frozen=True, eq=False)
class Outfit:
    """The finishes of a thing by slot, and the colour it would be named by."""

    slots: dict[str, Finish]
    word: str

    def __getitem__(self, slot: str) -> Finish:
        return self.slots.get(slot) or self.slots["body"]


SKIN: tuple[tuple[float, float, float], ...] = (
    (0.95, 0.78, 0.66),
    (0.88, 0.66, 0.50),
    (0.72, 0.48, 0.33),
    (0.52, 0.33, 0.21),
    (0.34, 0.21, 0.14),
)
HAIR: tuple[tuple[float, float, float], ...] = (
    (0.10, 0.08, 0.07),
    (0.30, 0.18, 0.09),
    (0.55, 0.36, 0.16),
    (0.85, 0.70, 0.36),
    (0.60, 0.22, 0.10),
    (0.70, 0.69, 0.68),
)
FUR = ("white", "grey", "black", "brown", "orange", "yellow")


def _rgb(colour: tuple[float, float, float] | Rgb, rng: np.random.Generator, spread: float = 0.03) -> Rgb:
    jitter = np.asarray(colour) * rng.uniform(0.9, 1.06) + rng.uniform(-spread, spread, 3)
    return np.clip(jitter, 0.02, 1).astype(np.float32)


def _put(albedo: Array, where: Array, colour: Rgb) -> None:
    """Colour the points where the boolean mask holds."""
    np.copyto(albedo, colour[:, None], where=where)


def _disc(local: Array, x: float, y: float, radius: float, squash: float = 1.0) -> Array:
    """Points on the front of a unit ball within a disc about (x, y)."""
    inside: Array = ((local[0] - np.float32(x)) / np.float32(squash)) ** 2 + (
        local[1] - np.float32(y)
    ) ** 2 < np.float32(radius * radius)
    return inside & (local[2] > 0)


BLACK = np.array([0.04, 0.04, 0.05], dtype=np.float32)
WHITE = np.array([0.95, 0.95, 0.93], dtype=np.float32)


def _person(rng: np.random.Generator) -> Outfit:
    skin = _rgb(pick(rng, SKIN), rng)
    hair = _rgb(pick(rng, HAIR), rng)
    fringe, long_hair, hat = rng.uniform(0.3, 0.6), rng.random() < 0.45, rng.random() < 0.25
    lips = (skin * np.float32(0.55) + np.array([0.25, 0.02, 0.03], dtype=np.float32)).astype(np.float32)
    if hat:
        hair = tint(rng, pick(rng, COLOURS))

    def face(local: Array, albedo: Array) -> None:
        x, y, z = local
        for side in (-0.36, 0.36):
            _put(albedo, _disc(local, side, 0.08, 0.2), WHITE)
            _put(albedo, _disc(local, side, 0.08, 0.12), BLACK)
        _put(albedo, _disc(local, 0.0, -0.45, 0.11, 2.6), lips)
        crown = (y > fringe) | ((z < -0.05) & (y > -0.9 if long_hair else y > -0.2))
        if long_hair:
            crown |= (abs(x) > 0.82) & (y > -0.75)
        _put(albedo, crown, hair)

    bare = replace(paint(rng, families=("plain",)), first=skin)
    shirt = paint(rng, families=MOSTLY_PLAIN, frequency=(30, 80))
    trousers = paint(rng, families=("plain", "plain", "stripes", "noise", "checks", "gradient"), frequency=(25, 60))
    shoes = Finish(paint(rng, families=("plain",), colours=("black", "brown", "white", "red", "blue")))
    top, leg, flesh = Finish(shirt), Finish(trousers), Finish(bare)
    sleeves, shorts = rng.random(), rng.random() < 0.3
    slots = {
        "body": top,
        "torso": top,
        "neck": flesh,
        "head": Finish(bare, face),
        "upper arm": flesh if sleeves < 0.15 else top,
        "lower arm": flesh if sleeves < 0.55 else top,
        "hand": flesh,
        "upper leg": leg,
        "lower leg": flesh if shorts else leg,
        "foot": shoes,
    }
    if rng.random() < 0.15:  # a dress or an overall
        slots["upper leg"] = top
    return Outfit(slots, shirt.word)


def _cat(rng: np.random.Generator) -> Outfit:
    """Tabby stripes or patches, slit eyes that shine, a small pink nose, whiskers."""
    families = ("stripes", "stripes", "grain", "marble", "plain", "noise")
    fur = paint(rng, colours=FUR, families=families, frequency=(16, 30), second=pick(rng, FUR))
    eye = tint(rng, pick(rng, ("green", "yellow", "cyan", "orange")))
    pink = tint(rng, "pink")
    dark = BLACK if fur.first.sum() > 0.6 else WHITE

    def face(local: Array, albedo: Array) -> None:
        for side in (-0.42, 0.42):
            _put(albedo, _disc(local, side, 0.16, 0.21, 1.25), eye)
            _put(albedo, _disc(local, side, 0.16, 0.2, 0.32), BLACK)
        x, y = local[0], local[1]
        bars = (abs(np.sin(x * np.float32(9.0))) > 0.8) & (y > 0.5) & (local[2] > -0.2)
        _put(albedo, bars, fur.second)

    def muzzle(local: Array, albedo: Array) -> None:
        albedo += (WHITE[:, None] - albedo) * np.float32(0.45)
        _put(albedo, _disc(local, 0.0, 0.42, 0.26, 1.2), pink)
        x, y = abs(local[0]), local[1]
        _put(albedo, (abs(y - 0.15 * x) < 0.09) & (x > 0.45), dark)

    ears = Finish(replace(fur, family="plain"))
    return Outfit(
        {"body": Finish(fur), "head": Finish(fur, face), "muzzle": Finish(fur, muzzle), "ear": ears}, fur.word
    )


def _dog(rng: np.random.Generator) -> Outfit:
    """Spots or a saddle, round dark eyes, a large black nose, dark ears, sometimes a tongue."""
    families = ("dots", "noise", "noise", "plain", "gradient", "grain")
    fur = paint(rng, colours=FUR, families=families, frequency=(9, 17), second=pick(rng, FUR))
    tongue = rng.random() < 0.5
    patch = rng.random() < 0.5
    pink = np.array([0.85, 0.30, 0.35], dtype=np.float32)

    def face(local: Array, albedo: Array) -> None:
        if patch:
            _put(albedo, _disc(local, 0.42, 0.18, 0.42), fur.second)
        for side in (-0.42, 0.42):
            _put(albedo, _disc(local, side, 0.2, 0.19), WHITE)
            _put(albedo, _disc(local, side, 0.2, 0.16), np.array([0.13, 0.07, 0.04], dtype=np.float32))

    def muzzle(local: Array, albedo: Array) -> None:
        _put(albedo, _disc(local, 0.0, 0.35, 0.52, 1.2), BLACK)
        if tongue:
            _put(albedo, _disc(local, 0.0, -0.6, 0.36, 0.9), pink)

    ears = Finish(replace(fur, family="plain", first=(fur.second * np.float32(0.6)).astype(np.float32)))
    return Outfit(
        {"body": Finish(fur), "head": Finish(fur, face), "muzzle": Finish(fur, muzzle), "ear": ears}, fur.word
    )


def _ball(rng: np.random.Generator) -> Outfit:
    colours = often(rng, ("red", "blue", "yellow"))
    skin = paint(rng, colours=colours, families=MOSTLY_PLAIN, frequency=(5, 16), gloss=float(rng.uniform(0.2, 0.8)))
    if rng.random() < 0.4:  # panels around a pole, like a beach ball: few and broad
        count, other = float(int(rng.uniform(2, 4))), tint(rng, pick(rng, COLOURS))

        def panels(local: Array, albedo: Array) -> None:
            angle = np.arctan2(local[0], local[2])
            _put(albedo, np.sin(angle * np.float32(count)) > 0.25, other)
            _put(albedo, abs(local[1]) > 0.93, WHITE)

        return Outfit({"body": Finish(replace(skin, family="plain"), panels)}, skin.word)
    if rng.random() < 0.3:  # a seam, as on a tennis ball or a basketball
        line = WHITE if skin.first.sum() < 1.2 else BLACK

        def seam(local: Array, albedo: Array) -> None:
            x, y, z = local
            _put(albedo, (abs(x) < 0.045) | (abs(y) < 0.045) | (abs(abs(z) - 0.6) < 0.05), line)

        return Outfit({"body": Finish(replace(skin, family="plain"), seam)}, skin.word)
    return Outfit({"body": Finish(skin)}, skin.word)


def _melon(rng: np.random.Generator) -> Outfit:
    """Many ragged meridians, a stalk's scar at the pole."""
    word = pick(rng, ("green", "green", "green", "green", "yellow", "orange", "white", "brown"))
    base = tint(rng, word)
    stripe = np.clip(base * np.float32(rng.uniform(0.35, 0.6)), 0, 1).astype(np.float32)
    count = float(int(rng.uniform(7, 11)))
    wobble = paint(rng, families=("noise",), frequency=(8, 14))
    rough = paint(rng, families=("plain", "noise"), colours=(word,), second=word, frequency=(20, 40), gloss=0.2)

    def meridians(local: Array, albedo: Array) -> None:
        angle = np.arctan2(local[0], local[2])
        bend = np.sin(wobble.waves @ local + wobble.phase[:, None]).sum(0)
        ragged = np.sin(angle * np.float32(count) + np.float32(0.5) * bend)
        _put(albedo, (ragged > 0.2) & (abs(local[1]) < 0.95), stripe)
        _put(albedo, local[1] > 0.955, np.array([0.25, 0.17, 0.08], dtype=np.float32))

    return Outfit({"body": Finish(replace(rough, first=base), meridians)}, word)


def _box(rng: np.random.Generator) -> Outfit:
    card = paint(rng, colours=often(rng, ("pink", "purple", "cyan")), families=MOSTLY_PLAIN, frequency=(8, 26))
    tape = tint(rng, pick(rng, COLOURS))
    if rng.random() < 0.5:

        def band(local: Array, albedo: Array) -> None:
            _put(albedo, abs(local[0]) < 0.16, tape)

        return Outfit({"body": Finish(card, band)}, card.word)
    return Outfit({"body": Finish(card)}, card.word)


def _crate(rng: np.random.Generator) -> Outfit:
    """Planks in a frame, with gaps; often wood, sometimes painted."""
    colours = often(rng, ("brown", "brown", "yellow", "orange"), 0.8)
    wood = paint(rng, colours=colours, families=("grain", "plain", "noise"), frequency=(7, 16))
    wood = wood.recoloured(wood.first, (wood.first * np.float32(0.72)).astype(np.float32), wood.word)
    gap = (wood.first * np.float32(0.25)).astype(np.float32)
    lath = np.clip(wood.first * np.float32(1.25) + np.float32(0.04), 0, 1).astype(np.float32)
    planks, diagonal = float(int(rng.uniform(3, 6))), rng.random() < 0.6

    def boards(local: Array, albedo: Array) -> None:
        side = np.sort(abs(local), axis=0)[1]  # distance from the middle of the face, along its longer way
        across = local[1] * np.float32(planks / 2)
        flat = abs(local[1]) > 0.995
        across = np.where(flat, local[0] * np.float32(planks / 2), across)
        _put(albedo, abs(across - np.rint(across)) < 0.1, gap)
        if diagonal:
            along = np.where(abs(local[0]) > 0.995, local[2], local[0])
            _put(albedo, (abs(along - local[1]) < 0.2) & ~flat, lath)
        _put(albedo, side > 0.76, lath)
        _put(albedo, abs(side - np.float32(0.76)) < 0.035, gap)

    return Outfit({"body": Finish(wood, boards)}, wood.word)


def _can(rng: np.random.Generator) -> Outfit:
    label = paint(
        rng, colours=often(rng, ("red", "blue", "white", "grey")), families=MOSTLY_PLAIN, frequency=(8, 26), gloss=0.6
    )
    metal = Finish(replace(paint(rng, colours=("grey", "white"), families=("plain",)), gloss=0.9))
    mark = tint(rng, pick(rng, COLOURS))
    height, size = rng.uniform(-0.4, 0.4), rng.uniform(0.18, 0.4)

    def badge(local: Array, albedo: Array) -> None:
        _put(albedo, abs(local[1] - np.float32(height)) < np.float32(size), mark)

    return Outfit({"body": Finish(label, badge if rng.random() < 0.5 else None), "rim": metal}, label.word)


def _cone(rng: np.random.Generator) -> Outfit:
    skin = paint(
        rng, colours=often(rng, ("orange", "orange", "red", "yellow")), families=MOSTLY_PLAIN, frequency=(8, 26)
    )
    band = tint(rng, pick(rng, ("white", "white", *COLOURS)))
    rings = float(int(rng.uniform(1, 4)))

    def bands(local: Array, albedo: Array) -> None:
        _put(albedo, np.sin((local[1] + np.float32(0.2)) * np.float32(3.1 * rings)) > 0.45, band)

    foot = Finish(paint(rng, families=("plain",), colours=("black", "grey", skin.word)))
    return Outfit({"body": Finish(skin, bands if rng.random() < 0.6 else None), "foot": foot}, skin.word)


def _tree(rng: np.random.Generator) -> Outfit:
    colours = ("green", "green", "green", "green", "green", "yellow", "orange", "red", "pink", "white", "brown")
    families = ("noise", "noise", "dots", "grain", "marble", "checks")
    leaves = paint(rng, colours=colours, families=families, frequency=(22, 60))
    bark = paint(rng, colours=("brown", "brown", "grey", "black"), families=("grain", "stripes", "plain"))
    return Outfit({"body": Finish(leaves), "crown": Finish(leaves), "trunk": Finish(bark)}, leaves.word)


def _vase(rng: np.random.Generator) -> Outfit:
    colours = often(rng, ("cyan", "blue", "white"))
    glaze = paint(rng, colours=colours, families=MOSTLY_PLAIN, frequency=(9, 30), gloss=float(rng.uniform(0.4, 0.9)))
    return Outfit({"body": Finish(glaze)}, glaze.word)


def _ring(rng: np.random.Generator) -> Outfit:
    rubber = paint(rng, colours=often(rng, ("yellow", "pink", "black")), families=MOSTLY_PLAIN, frequency=(9, 30))
    return Outfit({"body": Finish(rubber)}, rubber.word)


def _matt(rng: np.random.Generator) -> Outfit:
    skin = paint(rng, families=MOSTLY_PLAIN, frequency=(6, 26))
    return Outfit({"body": Finish(skin), "handle": Finish(paint(rng, families=("plain",)))}, skin.word)


WOOD = ("brown", "brown", "black", "white", "grey", "yellow", "red")


def _wooden(rng: np.random.Generator) -> Outfit:
    wood = paint(rng, colours=WOOD, families=("grain", "grain", "plain", "noise", "checks"), frequency=(8, 24))
    leg = paint(rng, colours=(wood.word, "black", "grey"), families=("plain",))
    return Outfit({"body": Finish(wood), "leg": Finish(leg)}, wood.word)


def _upholstered(rng: np.random.Generator) -> Outfit:
    cloth = paint(rng, frequency=(10, 40))
    seat = cloth if rng.random() < 0.6 else paint(rng, frequency=(10, 40), colours=(cloth.word,))
    pillow = paint(rng, families=("plain", "stripes", "dots"), colours=("white", "white", *COLOURS))
    leg = paint(rng, colours=WOOD, families=("grain", "plain"))
    slots = {"body": Finish(cloth), "seat": Finish(seat), "pillow": Finish(pillow), "leg": Finish(leg)}
    return Outfit(slots, cloth.word)


def _cabinet(rng: np.random.Generator) -> Outfit:
    """Doors and drawers with knobs, or shelves with books."""
    wood = paint(rng, colours=WOOD, families=("grain", "plain", "plain"), frequency=(8, 24))
    dark = (wood.first * np.float32(0.35)).astype(np.float32)
    rows, columns = int(rng.uniform(2, 5)), int(rng.uniform(1, 3))
    books = rng.random() < 0.4
    spines = paint(rng, frequency=(14, 24))

    def front(local: Array, albedo: Array) -> None:
        ahead = local[2] > 0.99
        row = (local[1] * np.float32(0.5) + np.float32(0.5)) * np.float32(rows)
        column = (local[0] * np.float32(0.5) + np.float32(0.5)) * np.float32(columns)
        up, across = row - np.floor(row), column - np.floor(column)
        if books:
            hue = np.floor((local[0] + 1) * np.float32(9) + 3 * np.floor(row))
            rates = np.array([[1.3], [2.1], [3.7]], dtype=np.float32)
            colours = np.float32(0.5) + np.float32(0.4) * np.sin(hue * rates)
            height = np.float32(0.66) + np.float32(0.15) * np.sin(hue * np.float32(5.1))
            _put(albedo, ahead & (up > height), dark)
            np.copyto(albedo, colours * spines.first[:, None] + np.float32(0.1), where=ahead & (up <= height))
            _put(albedo, ahead & (up < 0.08), wood.first)
        else:
            seam = (up < 0.05) | (across < 0.03 * columns)
            knob = (abs(up - 0.55) < 0.07) & (abs(across - (0.5 if rows > 2 else 0.85)) < 0.05 * columns)
            _put(albedo, ahead & (seam | knob), dark)

    return Outfit({"body": Finish(wood, front), "leg": Finish(replace(wood, family="plain", first=dark))}, wood.word)


def _lamp(rng: np.random.Generator) -> Outfit:
    colours = ("white", "yellow", "orange", *COLOURS)
    shade = paint(rng, colours=colours, families=("plain", "stripes", "gradient", "dots"), frequency=(10, 30))
    stand = paint(rng, colours=("black", "grey", "brown", "yellow"), families=("plain",), gloss=0.6)
    return Outfit({"body": Finish(shade), "leg": Finish(stand)}, shade.word)


def _picture(rng: np.random.Generator) -> Outfit:
    """A frame about a canvas, or about a small landscape."""
    canvas = paint(rng, frequency=(8, 30))
    border, width = tint(rng, pick(rng, COLOURS)), rng.uniform(0.72, 0.9)
    hill, sun = tint(rng, pick(rng, COLOURS)), tint(rng, pick(rng, ("yellow", "red", "white")))
    landscape = rng.random() < 0.5

    def framed(local: Array, albedo: Array) -> None:
        if landscape:
            _put(albedo, _disc(local, 0.35, 0.35, 0.25), sun)
            _put(albedo, local[1] < np.float32(0.3) * np.sin(local[0] * np.float32(4)) - np.float32(0.2), hill)
        _put(albedo, np.maximum(abs(local[0]), abs(local[1])) > width, border)

    return Outfit({"body": Finish(canvas, framed)}, canvas.word)


def _window(rng: np.random.Generator) -> Outfit:
    """Panes with the sky behind, in a crossed frame."""
    sky = paint(rng, colours=("blue", "cyan", "white", "grey", "black"), families=("noise", "plain"), second="white")
    bars = tint(rng, pick(rng, ("white", "white", "brown", "black", "grey")))
    land = tint(rng, pick(rng, ("green", "grey", "brown")))

    def panes(local: Array, albedo: Array) -> None:
        x, y = abs(local[0]), abs(local[1])
        _put(albedo, local[1] < np.float32(0.15) * np.sin(local[0] * np.float32(5)) - np.float32(0.35), land)
        _put(albedo, (x < 0.06) | (y < 0.05) | (x > 0.88) | (y > 0.9), bars)

    frame = Finish(replace(sky, family="plain", first=bars))
    return Outfit({"body": Finish(replace(sky, gloss=0.5), panes), "leg": frame}, sky.word)


def _door(rng: np.random.Generator) -> Outfit:
    """Panels cut into a leaf."""
    leaf = paint(rng, colours=("white", "brown", *COLOURS), families=("plain", "grain", "plain"), frequency=(6, 14))
    groove = (leaf.first * np.float32(0.6)).astype(np.float32)
    rows = int(rng.uniform(1, 4))

    def panels(local: Array, albedo: Array) -> None:
        row = (local[1] * np.float32(0.5) + np.float32(0.5)) * np.float32(rows)
        inset = np.maximum(abs(local[0]) * np.float32(0.95), abs(row - np.floor(row) - np.float32(0.5)) * 2)
        _put(albedo, (inset > 0.66) & (inset < 0.76), groove)
        _put(albedo, np.maximum(abs(local[0]) * np.float32(0.98), abs(local[1])) > 0.955, groove)

    knob = Finish(paint(rng, colours=("yellow", "grey"), families=("plain",), gloss=0.9))
    return Outfit({"body": Finish(leaf, panels), "leg": knob}, leaf.word)


_OUTFITS: dict[str, Callable[[np.random.Generator], Outfit]] = {
    "person": _person,
    "cat": _cat,
    "dog": _dog,
    "ball": _ball,
    "melon": _melon,
    "box": _box,
    "crate": _crate,
    "can": _can,
    "cone": _cone,
    "tree": _tree,
    "vase": _vase,
    "ring": _ring,
    "table": _wooden,
    "chair": _upholstered,
    "bed": _upholstered,
    "sofa": _upholstered,
    "cabinet": _cabinet,
    "lamp": _lamp,
    "picture": _picture,
    "window": _window,
    "door": _door,
}


def dress(name: str, rng: np.random.Generator) -> Outfit:
    """The outfit of a thing of the named class; anything without its own wears a matt paint."""
    return _OUTFITS.get(name, _matt)(rng)
