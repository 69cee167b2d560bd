"""A set of counterfactual pairs on the disk: pictures, instance masks, and `manifest.json`, which tells how they came.

    PAIRS/manifest.json
    PAIRS/000-before.png  000-after.png  000-mask.png       RGB, RGB, and 0 or the number of an object
    PAIRS/objects/        what generated objects were made of, and those that failed (not needed to read a set)

Nothing in it depends on where it lies: the folder can be moved, packed and shared.
"""

import hashlib
import json
import reprlib
import sys
from collections.abc import Iterator
from dataclasses import MISSING, asdict, dataclass, field, fields
from functools import cached_property
from pathlib import Path
from types import UnionType
from typing import Any, get_args, get_origin, get_type_hints

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from sakbench import whole
from sakbench.errors import UserError

NAME = "manifest.json"
OBJECTS = "objects"
FORMAT = 1
_MOST_BYTES = 64 << 20  # of a manifest
LEAST_SIDE, MOST_SIDE = 32, 4096  # pixels of a picture
_MOST_PIXELS = 1 << 28  # of all pairs: what a machine's memory bears
_MOST_LETTERS = 200

Bytes = NDArray[np.uint8]


@dataclass(frozen=True)
class Gates:
    """What was measured of a counterfactual object: see `sakbench.data.pairs.gates`. None: nobody was there to ask."""

    mask_iou: float
    change_inside: float
    change_outside: float
    class_share: float | None = None
    flagged: bool = False  # by the safety checker


Box = tuple[int, int, int, int]  # top, left, height, width in pixels


def box_of(mask: NDArray[np.bool_]) -> Box:
    """The box around what a mask bool (h, w) shows. Raises `ValueError` where it shows nothing."""
    rows, columns = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
    if not len(rows):
        raise ValueError("an empty mask has no box.")
    top, left = int(rows[0]), int(columns[0])
    return top, left, int(rows[-1]) + 1 - top, int(columns[-1]) + 1 - left


@dataclass(frozen=True)
class PastedObject:
    """An object of a pair: `number` is its value in the mask.

    `source` names the image that the original is from, `sha256` is that file's; `seed` drew the counterfactual.
    """

    number: int
    box: Box
    source: str
    sha256: str
    prompt: str
    seed: int
    gates: Gates


@dataclass(frozen=True)
class Pair:
    """Two pictures and their mask, as names of files in the folder, each with its SHA-256."""

    before: str
    after: str
    mask: str
    sha256: tuple[str, str, str]
    background: str
    objects: tuple[PastedObject, ...]

    @property
    def files(self) -> tuple[str, str, str]:
        """The three files."""
        return self.before, self.after, self.mask


@dataclass(frozen=True)
class Rejected:
    """An object that did not become one of the other class, and why; its pictures are in `folder`."""

    source: str
    reasons: tuple[str, ...]
    folder: str


@dataclass(frozen=True)
class PairSet:
    """Pairs of one kind: in each, objects of class `old` have become `new`; pictures are `side` x `side` pixels.

    `made_with` tells models, versions and settings. `rendered` says which exact pairs these are, if a renderer made
    them.
    """

    name: str
    old: str
    new: str
    side: int
    made_with: dict[str, str]
    pairs: tuple[Pair, ...]
    rejected: tuple[Rejected, ...] = ()
    rendered: str = ""
    format: int = field(default=FORMAT)

    def __len__(self) -> int:
        return len(self.pairs)

    @cached_property
    def identity(self) -> str:
        """What numbers that are measured on the set depend on: a hash of its classes and of all pictures."""
        content = [self.old, self.new, self.side, [pair.sha256 for pair in self.pairs]]
        return hashlib.sha256(json.dumps(content).encode()).hexdigest()[:12]


@dataclass(frozen=True, eq=False)
class Pictures:
    """The pictures of a set: `before` and `after` uint8 (n, side, side, 3), `masks` uint8 (n, side, side)."""

    before: Bytes
    after: Bytes
    masks: Bytes


def write(folder: Path, pairs: PairSet) -> None:
    """Write the manifest, whole or not at all. Raises `OSError`, and `ValueError` for one that could not be read."""
    text = json.dumps(asdict(pairs), indent=1, ensure_ascii=False) + "\n"
    _check(_read(PairSet, json.loads(text), "the set"))
    whole.write_text(folder / NAME, text)


def printed(name: str) -> str:
    """A name of a file or folder as a manifest can hold it: printable, and not too long."""
    return "".join(letter if letter.isprintable() else "?" for letter in name)[-_MOST_LETTERS:] or "pairs"


def read(folder: Path) -> PairSet:
    """The set in a folder; its pictures are read, and compared with their checksums, by `pictures`.

    Raises `UserError` for a folder without a manifest, and for one that is damaged or of another version.
    """
    path = folder / NAME
    if not path.is_file():
        raise UserError(
            f"{folder} holds no pairs ({NAME} is not there): `sakbench pairs make` makes some, and `miniworld` in its"
            " place stands for rendered ones."
        )
    try:
        if path.stat().st_size > _MOST_BYTES:
            raise UserError(f"{path} has more than {_MOST_BYTES >> 20} MiB: it is no manifest of pairs.")
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise UserError(f"{path} cannot be read ({error}).") from error
    if isinstance(content, dict) and content.get("format", FORMAT) != FORMAT:
        raise UserError(f"{path} has format {content['format']!r}, and this version of sakbench reads {FORMAT}.")
    try:
        found: PairSet = _read(PairSet, content, "the set")
        _check(found)
    except ValueError as error:
        raise UserError(f"{path} is no manifest of pairs: {error}.") from error
    return found


def pictures(folder: Path, pairs: PairSet) -> Pictures:
    """All pictures of a set. Raises `UserError` for a file that is missing, altered or of another size."""
    before, after, masks = map(np.stack, zip(*_all(folder, pairs), strict=True))
    return Pictures(before, after, masks)


def check(folder: Path, pairs: PairSet) -> None:
    """Raise `UserError` for a file of a set that is missing, altered or of another size; all are read."""
    for _ in _all(folder, pairs):
        pass


def _all(folder: Path, pairs: PairSet) -> Iterator[tuple[Bytes, Bytes, Bytes]]:
    size = (pairs.side, pairs.side)
    for pair in pairs.pairs:
        before, after, mask = (
            _picture(folder / name, sha256, mode, size)
            for name, sha256, mode in zip(pair.files, pair.sha256, ("RGB", "RGB", "L"), strict=True)
        )
        missing = {one.number for one in pair.objects} - set(np.unique(mask).tolist())
        if missing:
            raise UserError(f"{folder / pair.mask} shows nothing of object {min(missing)}, which {NAME} lists.")
        yield before, after, mask


def _picture(path: Path, sha256: str, mode: str, size: tuple[int, int]) -> Bytes:
    try:
        if whole.sha256(path) != sha256:
            raise UserError(f"{path} has changed since the pairs were made: copy the folder again, or make them anew.")
        with Image.open(path, formats=("PNG",)) as image:  # a stranger's file is given to no other decoder
            if image.mode != mode:
                raise UserError(f"{path} is an image of mode {image.mode}: {mode} is needed.")
            if image.size != size:
                raise UserError(f"{path} has {image.width} x {image.height} pixels, and {NAME} says {size[0]} a side.")
            return np.asarray(image)
    except FileNotFoundError as error:
        raise UserError(f"{path} is missing: copy the folder again, or make the pairs anew.") from error
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        raise UserError(f"{path} cannot be read ({error}).") from error


def _check(pairs: PairSet) -> None:
    """Raise `ValueError` for what has the right types and still makes no sense, or leads out of the folder."""
    if not pairs.pairs:
        raise ValueError("it lists no pair")
    if not LEAST_SIDE <= pairs.side <= MOST_SIDE:
        raise ValueError(f"side is {pairs.side}: pictures have {LEAST_SIDE} to {MOST_SIDE} pixels a side")
    if len(pairs) * pairs.side**2 > _MOST_PIXELS:
        raise ValueError(f"{len(pairs)} pairs of {pairs.side} pixels are more than can be looked at at once")
    if not (pairs.name and pairs.old and pairs.new):
        raise ValueError("the set and its classes need names")
    for pair in pairs.pairs:
        for name in pair.files:
            if not name or Path(name).name != name or "\\" in name:
                raise ValueError(f"{name!r} is no name of a file beside it")
        numbers = [one.number for one in pair.objects]
        if not numbers or len(set(numbers)) < len(numbers) or not all(1 <= number <= 255 for number in numbers):
            raise ValueError(f"the objects of {pair.mask} need a number of their own each, from 1 to 255")


def _read(kind: Any, value: Any, where: str) -> Any:
    """A JSON value as the annotation `kind` has it. Raises `ValueError` that says where it is not."""
    origin, inner = get_origin(kind), get_args(kind)
    if origin is UnionType:
        return None if value is None else _read(inner[0], value, where)
    if origin is tuple and isinstance(value, list):
        kinds = inner[:1] * len(value) if ... in inner else inner
        if len(kinds) != len(value):
            raise ValueError(f"{where} has {len(value)} values, not {len(kinds)}")
        return tuple(_read(one, part, f"{where}[{i}]") for i, (one, part) in enumerate(zip(kinds, value, strict=True)))
    if origin is dict and isinstance(value, dict):
        return {key: _read(inner[1], one, f"{where} {key}") for key, one in value.items()}
    if kind is float and type(value) in (int, float) and abs(value) <= sys.float_info.max:  # which NaN is not
        return float(value)
    if kind is str and isinstance(value, str) and (len(value) > _MOST_LETTERS or not value.isprintable()):
        raise ValueError(f"{where} must be at most {_MOST_LETTERS} printable characters")
    if kind in (int, str, bool) and type(value) is kind:
        return value
    if not hasattr(kind, "__dataclass_fields__") or not isinstance(value, dict):
        raise ValueError(f"{where} cannot be {reprlib.repr(value)}")
    known = get_type_hints(kind)
    needed = {one.name for one in fields(kind) if one.default is MISSING and one.default_factory is MISSING}
    if wrong := (value.keys() - known.keys()) | (needed - value.keys()):
        raise ValueError(f"{min(wrong)} of {where} is {'missing' if min(wrong) in needed else 'unknown'}")
    return kind(**{key: _read(known[key], one, f"{key} of {where}") for key, one in value.items()})
