"""Folders of predictions and truths: which files belong together, and what is read from them."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, UnidentifiedImageError

from sakbench.errors import UserError

GREY, LABELS = ("L",), ("L", "P", "1")  # Pillow's modes of a map of bytes; a palette's indices and bits are labels too

_KINDS = {"L": "one channel of 8 bits", "RGB": "three channels of 8 bits", "I;16": "one channel of 8 or 16 bits"}


@dataclass(frozen=True)
class Pair:
    """A prediction and its truths, one per annotator."""

    name: str
    prediction: Path
    truths: tuple[Path, ...]


def pairs(predictions: Path, truth: Path, suffixes: Sequence[str] = (".png",)) -> tuple[list[Pair], int]:
    """The predictions with their truths of the same name, in order, and how many predictions have no truth.

    A truth is a file, or a folder that holds one file per annotator. Raises UserError for a folder that is missing or
    empty and for a truth without its prediction.
    """
    found = _files(predictions, "predictions", suffixes)
    truths: dict[str, tuple[Path, ...]] = {
        path.stem: (path,) for path in _files(truth, "truth", suffixes, may_be_empty=True).values()
    }
    for folder in sorted(path for path in truth.iterdir() if path.is_dir() and not path.name.startswith(".")):
        if folder.name in truths:
            raise _ambiguous(truth, truths[folder.name][0], folder)
        truths[folder.name] = tuple(_files(folder, "truth", suffixes).values())
    if not truths:
        raise UserError(f"the truth folder {truth} holds no {' or '.join(suffixes)} file.")
    missing = sorted(set(truths) - set(found))
    if missing:
        others = f" ({len(missing)} such truths)" if len(missing) > 1 else ""
        raise UserError(f"the truth {truths[missing[0]][0]} has no prediction {missing[0]} in {predictions}{others}.")
    return [Pair(name, found[name], truths[name]) for name in sorted(truths)], len(found) - len(truths)


def read(path: Path, modes: Sequence[str]) -> NDArray[np.uint8]:
    """A PNG's bytes, (h, w) or (h, w, 3). Raises UserError where it is no readable image of one of Pillow's `modes`."""
    return _pixels(path, modes).astype(np.uint8)


def read_deep(path: Path) -> NDArray[np.integer]:
    """A PNG's map (h, w) of 8 or 16 bits. Raises UserError where it is no readable image of one channel."""
    return _pixels(path, ("I;16", "I", "L"))


def _pixels(path: Path, modes: Sequence[str]) -> NDArray[np.integer]:
    with _open(path) as image:
        if image.mode not in modes:
            raise UserError(f"{path} is an image of mode {image.mode}: {_KINDS[modes[0]]} is due.")
        if image.mode == "L" and (bits := _bits(path)) < 8:
            raise UserError(f"{path} has {bits} bits per pixel, which readers spread over 0 to 255: save it with 8.")
        try:
            return np.array(image)
        except (OSError, SyntaxError, ValueError) as error:
            raise UserError(f"{path} cannot be read ({error}): is the file whole?") from error


def size(path: Path) -> tuple[int, int]:
    """Height and width, from the file's head alone. Raises UserError where it is no image."""
    with _open(path) as image:
        return image.height, image.width


def require_sizes(pair: Pair) -> None:
    """Raise UserError where a prediction and one of its truths differ in size."""
    mine = size(pair.prediction)
    for path in pair.truths:
        theirs = size(path)
        if mine != theirs:
            raise UserError(
                f"{pair.prediction} has {mine[0]}x{mine[1]} pixels (height x width), its truth {path} has "
                f"{theirs[0]}x{theirs[1]}: predictions are saved at the truth's size."
            )


def _bits(path: Path) -> int:
    """The bit depth that a PNG's head names; 8 for other files."""
    with path.open("rb") as file:
        head = file.read(25)
    return head[24] if head.startswith(b"\x89PNG") and len(head) == 25 else 8


def _open(path: Path) -> Image.Image:
    try:
        return Image.open(path)
    except (OSError, SyntaxError, ValueError, UnidentifiedImageError, Image.DecompressionBombError) as error:
        raise UserError(f"{path} cannot be read ({error}).") from error


def _ambiguous(folder: Path, one: Path, other: Path) -> UserError:
    return UserError(f"{folder} holds both {one.name} and {other.name}: which one is {one.stem}?")


def _files(folder: Path, what: str, suffixes: Sequence[str], *, may_be_empty: bool = False) -> dict[str, Path]:
    try:
        entries = sorted(folder.iterdir())
    except OSError as error:
        raise UserError(f"the {what} folder {folder} cannot be read ({error.strerror}).") from error
    found: dict[str, Path] = {}
    for path in entries:
        if path.suffix.lower() in suffixes and not path.is_dir():
            if path.stem in found:
                raise _ambiguous(folder, found[path.stem], path)
            found[path.stem] = path
    if not found and not may_be_empty:
        raise UserError(f"the {what} folder {folder} holds no {' or '.join(suffixes)} file.")
    return found
