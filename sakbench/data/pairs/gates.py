"""Is a counterfactual one? Quality gates of an object before and after it has become one of another class."""

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from scipy import ndimage
from skimage.segmentation import random_walker

from sakbench.data.pairs.manifest import Bytes, Gates

# What an object must reach, or may not exceed. Changes are means of absolute differences, as a share of the range.
LEAST_MASK_IOU = 0.72
LEAST_CHANGE_INSIDE = 0.02
MOST_CHANGE_OUTSIDE = 0.08
LEAST_CLASS_SHARE = 0.5

_VERSION = 1
_SIDE = 96  # pixels at which shapes are compared
_CORE = 0.6  # of the greatest distance from the outline: what is deeper is the object for sure
_AROUND = 0.06  # of the picture's side: what is farther from the object than that is not
_BETA = 400  # how much a colour edge holds the walkers back


def measure(
    before: Bytes,
    after: Bytes,
    mask: NDArray[np.bool_],
    *,
    class_share: float | None = None,
    flagged: bool = False,
) -> Gates:
    """The gates of an object: pictures uint8 (h, w, 3) before and after, and its mask bool (h, w).

    `mask_iou` compares the shapes that `shape` finds in both; `class_share` is what a classifier says. Raises
    `ValueError` for a mask that is empty or full.
    """
    if mask.all() or not mask.any():
        raise ValueError("an object covers a part of its picture, not all or nothing.")
    change = np.abs(after.astype(np.float64) - before).mean(-1) / 255
    first, second = shape(before, mask), shape(after, mask)
    return Gates(
        mask_iou=float((first & second).sum() / (first | second).sum()),
        change_inside=float(change[mask].mean()),
        change_outside=float(change[~mask].mean()),
        class_share=class_share,
        flagged=flagged,
    )


def shape(picture: Bytes, mask: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Where the object that a mask points at is in a picture, as its colours say, bool (96, 96).

    Random walkers (Grady, 2006) start in every pixel: it belongs to the object if they reach the mask's core before its
    surroundings, and edges of colour hold them back. Core and surroundings are all that is taken from the mask.
    """
    size = (_SIDE, _SIDE)
    small = np.asarray(Image.fromarray(picture).resize(size, Image.Resampling.BOX), dtype=np.float64) / 255
    share = np.asarray(Image.fromarray(mask.astype(np.float32)).resize(size, Image.Resampling.BOX))
    inside = share >= min(0.5, share.max())
    depth = ndimage.distance_transform_edt(inside)
    seeds = np.zeros(size, dtype=np.int32)
    seeds[depth >= _CORE * depth.max()] = 1
    away = ndimage.distance_transform_edt(~inside)
    if inside.all():
        raise ValueError("an object covers a part of its picture, not all or nothing.")
    seeds[away >= min(_AROUND * _SIDE, away.max())] = 2
    if not small.std():  # one colour: there are no edges, and nothing to be seen but the core
        return seeds == 1
    return random_walker(small, seeds, beta=_BETA, mode="bf", channel_axis=-1) == 1


def about() -> str:
    """The version of what is measured, and what an object must reach: numbers of others do not compare."""
    limits = LEAST_MASK_IOU, LEAST_CHANGE_INSIDE, MOST_CHANGE_OUTSIDE, LEAST_CLASS_SHARE
    return f"{_VERSION}: {' '.join(f'{limit:g}' for limit in limits)}"


def failures(gates: Gates) -> tuple[str, ...]:
    """Why an object may not be used, a clause each; empty if it may."""
    told = {
        f"the shape was not kept (IoU {gates.mask_iou:.3f} < {LEAST_MASK_IOU})": gates.mask_iou < LEAST_MASK_IOU,
        f"the object hardly changed ({gates.change_inside:.3f} < {LEAST_CHANGE_INSIDE})": gates.change_inside
        < LEAST_CHANGE_INSIDE,
        f"what is around it changed ({gates.change_outside:.3f} > {MOST_CHANGE_OUTSIDE})": gates.change_outside
        > MOST_CHANGE_OUTSIDE,
        "the safety checker has blackened it": gates.flagged,
    }
    if gates.class_share is not None:
        told[f"the classifier does not see the new class ({gates.class_share:.2f} < {LEAST_CLASS_SHARE})"] = (
            gates.class_share < LEAST_CLASS_SHARE
        )
    return tuple(reason for reason, failed in told.items() if failed)
