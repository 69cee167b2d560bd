"""What a model makes of counterfactual pairs, in numbers, object by object (paper Figure 6 and its text)."""

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.ndimage import label

from sakbench.analysis.norm_maps import Maps, contrast, inside_share, mean_of, outliers, shares

# The root of an object's visible area, as a share of the picture's side.
SIZES: Mapping[str, tuple[float, float]] = MappingProxyType(
    {"small": (0.0, 3 / 16), "middle": (3 / 16, 5 / 16), "large": (5 / 16, 1.0)}
)
_AT_ONCE = 16
KEPT = 0.5  # the IoU of two predictions from which on a mask counts as kept

Labels = NDArray[np.integer]


@dataclass(frozen=True, eq=False)
class Objects:
    """Objects of pairs: in which pair (m,), their masks and what shows no object at all, both bool (m, H, W)."""

    pair: NDArray[np.int64]
    mask: NDArray[np.bool_]
    around: NDArray[np.bool_]

    @classmethod
    def of(cls, masks: ArrayLike) -> "Objects":
        """From masks (n, H, W) that hold 0 or the number of an object."""
        numbered = np.asarray(masks)
        found = [(pair, one) for pair, mask in enumerate(numbered) for one in np.unique(mask[mask > 0])]
        if not found:
            raise ValueError("the masks show no object.")
        return cls(
            np.array([pair for pair, _ in found]),
            np.stack([numbered[pair] == one for pair, one in found]),
            np.stack([numbered[pair] == 0 for pair, _ in found]),
        )

    @property
    def sides(self) -> NDArray[np.float64]:
        """The root of each one's visible area, as a share of the picture's side, (m,)."""
        return np.sqrt(self.mask.mean((1, 2)))

    def of_size(self, size: str) -> NDArray[np.bool_]:
        """Which of them are small, middle or large, (m,)."""
        low, high = SIZES[size]
        return (self.sides >= low) & ((self.sides < high) | (high == 1))


@dataclass(frozen=True, eq=False)
class Seen:
    """What a model made of pairs: norms of the last level's tokens before and after, and their change, (n, h, w).

    `extent` is how many pixels of the pictures (H, W) the tokens cover. If it was asked, `labels` are its predicted
    classes before and after, (n, H, W), and `beliefs` the new class's share of its belief in the old and the new.
    """

    before: Maps
    after: Maps
    change: Maps
    extent: tuple[float, float]
    labels: tuple[Labels, Labels] | None = None
    beliefs: tuple[Maps, Maps] | None = None


def numbers(seen: Seen, objects: Objects, classes: tuple[int, int] | None = None) -> dict[str, float]:
    """The numbers of a model: means over objects, or pictures; what cannot be told (no small object) is left out.

    `contrast SIZE` is an object's mean norm over its background's, both pictures; `change inside` and `outside` are how
    far tokens move, in units of the picture's root mean square norm; `share inside` is how much of all squared change
    lies in the objects, `outliers` how many tokens are, in percent. With labels, and the old and the new of the
    `classes`: `flips` (and `flips SIZE`), the percentage of objects whose label follows; `mask IoU`, of an object as it
    is predicted before and after, whichever of the two it is called; `flips kept`, of both together: the paper's
    criterion is that predictions differ in labels alone. `belief shift` tells weak heads apart, which call neither by
    its name: by how much an object's pixels come to favour the new class over the old, 100 from certainty to certainty.
    """
    grid = (seen.before.shape[1], seen.before.shape[2])
    inside, around = (_shares(masks, grid, seen.extent) for masks in (objects.mask, objects.around))
    stands_out = np.mean([contrast(norms[objects.pair], inside, around) for norms in (seen.before, seen.after)], axis=0)
    _, first = np.unique(objects.pair, return_index=True)
    outside = around[first]  # of each picture
    found = {f"contrast {size}": stands_out[objects.of_size(size)] for size in SIZES}
    found |= {
        "change inside": mean_of(seen.change[objects.pair], inside),
        "change outside": mean_of(seen.change, outside),
        "share inside": 100 * inside_share(seen.change, 1 - outside),
        "outliers": 100 * np.concatenate([outliers(seen.before), outliers(seen.after)]).mean((1, 2)),
    }
    if seen.labels is not None and classes is not None:
        before, after = (labels[objects.pair] for labels in seen.labels)
        flipped, overlap = flips(before, after, objects.mask, classes, objects.mask | objects.around)
        found |= {f"flips {size}": 100.0 * flipped[objects.of_size(size)] for size in SIZES}
        found |= {
            "flips": 100.0 * flipped,
            "mask IoU": 100 * overlap,
            "flips kept": 100.0 * (flipped & (overlap >= KEPT)),
        }
    if seen.beliefs is not None:
        believed = [
            float((seen.beliefs[1][pair][mask] - seen.beliefs[0][pair][mask]).mean(dtype=np.float64))
            for pair, mask in zip(objects.pair, objects.mask, strict=True)
        ]
        found["belief shift"] = 100 * np.array(believed)
    means = {name: values[~np.isnan(values)] for name, values in found.items()}
    return {name: float(values.mean()) for name, values in means.items() if len(values)}


def flips(
    before: Labels,
    after: Labels,
    mask: NDArray[np.bool_],
    classes: tuple[int, int],
    seen: NDArray[np.bool_] | None = None,
) -> tuple[NDArray[np.bool_], NDArray[np.float64]]:
    """Whether each object's label flips from the old class to the new, (m,), and how well its mask is kept, (m,).

    Labels (m, H, W) are of the picture that shows the object, before and after. The label is that of most of the
    object's pixels. The masks are what is called the old or the new class in and near the object's box, as far as it
    hangs together with the object and is `seen` (m, H, W): no other object's. Their IoU is 0 where there is none.
    """
    flipped, overlap = [], []
    for row, (first, second, one) in enumerate(zip(before, after, mask, strict=True)):
        flipped.append((_most(first[one]), _most(second[one])) == classes)
        window = _near(one)
        free = True if seen is None else seen[row][window]
        a, b = (_touching(np.isin(labels[window], classes) & free, one[window]) for labels in (first, second))
        union = (a | b).sum()
        overlap.append((a & b).sum() / union if union else 0.0)
    return np.array(flipped, dtype=np.bool_), np.array(overlap, dtype=np.float64)


def _touching(called: NDArray[np.bool_], mask: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """The parts of what is called a class that touch an object: another of its kind may stand beside it."""
    parts, _ = label(called)
    return called & np.isin(parts, np.unique(parts[mask & called]))


def _shares(masks: NDArray[np.bool_], grid: tuple[int, int], extent: tuple[float, float]) -> Maps:
    """The shares of many masks, some at a time: as float64 they would fill the memory."""
    parts = [shares(masks[first : first + _AT_ONCE], grid, extent) for first in range(0, len(masks), _AT_ONCE)]
    return np.concatenate(parts)


def _most(labels: Labels) -> int:
    return int(np.bincount(labels).argmax())


def _near(mask: NDArray[np.bool_]) -> tuple[slice, slice]:
    """An object's box, with a quarter of its sides more on each side."""
    rows, columns = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
    more = [(at[-1] + 1 - at[0]) // 4 for at in (rows, columns)]
    top, left = (max(0, int(at[0]) - extra) for at, extra in zip((rows, columns), more, strict=True))
    return slice(top, int(rows[-1]) + 1 + more[0]), slice(left, int(columns[-1]) + 1 + more[1])
