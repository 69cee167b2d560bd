"""Objects cut out of photographs and pasted into one background: originals and counterfactuals alike."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from sakbench.data.pairs.manifest import Box, Bytes, box_of
from sakbench.errors import UserError

_MARGIN = 0.15  # of an object's longer side, around it in its crop
_TINY = 1e-6
_SEEN = 0.25  # the share of a pixel from which on it shows a pasted object


@dataclass(frozen=True)
class Spot:
    """Where an object goes: its longer side, and its centre from left and top, as shares of the picture's side."""

    side: float
    x: float
    y: float


# From large to small, as in the paper's figure: what is nearer stands lower.
SPOTS = (Spot(0.5, 0.28, 0.68), Spot(0.32, 0.76, 0.74), Spot(0.18, 0.6, 0.36), Spot(0.1, 0.86, 0.3))


def spot(text: str) -> Spot:
    """A spot from SIDE@X,Y such as 0.5@0.3,0.7. Raises `UserError` for what is none, or leaves the picture."""
    side, _, centre = text.partition("@")
    x, _, y = centre.partition(",")
    try:
        found = Spot(float(side), float(x), float(y))
    except ValueError:
        raise UserError(f"the place {text!r} is not SIDE@X,Y in shares of the picture, such as 0.5@0.3,0.7.") from None
    half = found.side / 2
    if not (0.02 <= found.side <= 1 and half <= found.x <= 1 - half and half <= found.y <= 1 - half):
        raise UserError(f"the place {text!r} leaves the picture: SIDE is 0.02 to 1, and X and Y SIDE/2 to 1 - SIDE/2.")
    return found


@dataclass(frozen=True, eq=False)
class Crop:
    """A square around one object: picture uint8 (s, s, 3), mask bool (s, s), where (top, left, side in pixels)."""

    picture: Bytes
    mask: NDArray[np.bool_]
    where: tuple[int, int, int]


def crop(image: Bytes, mask: NDArray[np.bool_], side: int) -> Crop:
    """The square around an object with some margin, resized to `side`; what is beyond the image repeats its border."""
    top, left, height, width = box_of(mask)
    length = int(np.ceil(max(height, width) * (1 + 2 * _MARGIN)))
    top, left = top + (height - length) // 2, left + (width - length) // 2
    pad = [(max(0, -at), max(0, at + length - size)) for at, size in zip((top, left), mask.shape, strict=True)]
    window = tuple(slice(at + before, at + before + length) for at, (before, _) in zip((top, left), pad, strict=True))
    picture = np.pad(image, [*pad, (0, 0)], mode="edge")[window]
    covered = np.pad(mask, pad)[window]
    share = Image.fromarray(covered.astype(np.float32)).resize((side, side), Image.Resampling.BILINEAR)
    return Crop(
        np.asarray(Image.fromarray(picture).resize((side, side), Image.Resampling.LANCZOS)),
        np.asarray(share) >= 0.5,
        (top, left, length),
    )


def square(image: Bytes, side: int) -> Bytes:
    """The central square of an image, resized to `side`."""
    height, width, _ = image.shape
    length = min(height, width)
    top, left = (height - length) // 2, (width - length) // 2
    part = Image.fromarray(image[top : top + length, left : left + length])
    return np.asarray(part.resize((side, side), Image.Resampling.LANCZOS))


@dataclass(frozen=True, eq=False)
class Composite:
    """Pictures uint8 (s, s, 3) that differ where `mask` uint8 (s, s) is not 0: the number of the object there."""

    before: Bytes
    after: Bytes
    mask: Bytes
    boxes: tuple[Box, ...]


def compose(
    background: Bytes, objects: Sequence[tuple[Bytes, Bytes, NDArray[np.bool_]]], spots: Sequence[Spot]
) -> Composite:
    """Paste objects into a background uint8 (s, s, 3): each an original, a counterfactual and their mask.

    The same pixels are covered to the same degree in both pictures. A later object covers an earlier one. Raises
    `ValueError` for an object of which nothing is left to be seen.
    """
    side = len(background)
    before, after = background.astype(np.float64), background.astype(np.float64)
    mask = np.zeros((side, side), dtype=np.uint8)
    for number, ((original, counterfactual, outline), at) in enumerate(zip(objects, spots, strict=True), start=1):
        window = _window(box_of(outline))
        cut = outline[window]
        scale = at.side * side / max(cut.shape)
        height, width = (max(1, round(length * scale)) for length in cut.shape)
        top = min(max(0, round(at.y * side - height / 2)), side - height)
        left = min(max(0, round(at.x * side - width / 2)), side - width)
        share = _resized(cut, (height, width))
        alpha = np.clip((share - _SEEN) / (1 - 2 * _SEEN), 0, 1)[..., None]
        place = _window((top, left, height, width))
        for picture, source in ((before, original), (after, counterfactual)):
            # Colours from within the object alone: no rim of what was around it.
            weighted = np.stack([_resized(source[window][..., c] * cut, (height, width)) for c in range(3)], -1)
            colours = weighted / np.maximum(share, _TINY)[..., None]
            picture[place] = (1 - alpha) * picture[place] + alpha * colours
        mask[place] = np.where(alpha[..., 0] > 0, number, mask[place])
    return Composite(_bytes(before), _bytes(after), mask, _boxes(mask, len(spots)))


def _resized(values: NDArray[Any], size: tuple[int, int]) -> NDArray[np.float64]:
    how = Image.Resampling.BOX if size[0] < values.shape[0] else Image.Resampling.BILINEAR
    return np.asarray(Image.fromarray(values.astype(np.float32)).resize(size[::-1], how), dtype=np.float64)


def _bytes(picture: NDArray[np.float64]) -> Bytes:
    return np.rint(picture.clip(0, 255)).astype(np.uint8)


def _window(box: Box) -> tuple[slice, slice]:
    top, left, height, width = box
    return slice(top, top + height), slice(left, left + width)


def _boxes(mask: Bytes, count: int) -> tuple[Box, ...]:
    for number in range(1, count + 1):
        if not (mask == number).any():
            raise ValueError(f"object {number} is hidden by the others.")
    return tuple(box_of(mask == number) for number in range(1, count + 1))
