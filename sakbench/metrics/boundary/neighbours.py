"""Which true pixels lie within the tolerance of which predicted ones: listed once per image and annotator."""

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from sakbench.errors import UserError
from sakbench.metrics.boundary.compiled import compiled

Indices = NDArray[np.int32]

DISTANCE_UNITS = 100  # distances become whole numbers of hundredths of a pixel
MOST_PAIRS = 2**28  # 2 GB of them


@dataclass(frozen=True)
class Neighbours:
    """Pairs of predicted and true pixels that may match, as compressed rows, each sorted by distance.

    Row i, the i-th predicted pixel in row-major order, holds `columns[start[i]:start[i + 1]]`: numbers of true pixels
    in row-major order; `costs` are their distances in hundredths of a pixel.
    """

    start: Indices
    columns: Indices
    costs: Indices
    true_pixels: int


def tolerance(shape: tuple[int, int], max_dist: float) -> float:
    """How far two pixels may lie apart and match, in pixels: `max_dist` times the image's diagonal."""
    return max_dist * math.hypot(*shape)


def neighbours(predicted: Indices, truth: NDArray[np.bool_], radius: float) -> Neighbours:
    """The pairs at most `radius` pixels apart of `predicted`, flat indices into the map, and the ones of `truth`."""
    # nothing lies farther away than the map is long
    dy, dx, costs = _disc(min(radius, float(max(truth.shape))))
    numbers = _numbered(truth)
    found = _count_pairs(predicted, numbers, dy, dx)
    total = int(found.sum())
    if total > MOST_PAIRS:
        raise UserError(
            f"{total} pairs of predicted and true pixels lie within {radius:.1f} pixels, which is too many to match: "
            "max_dist is a share of the image's diagonal, 0.0075 for PASCAL-Context."
        )
    start = np.concatenate([[0], np.cumsum(found)]).astype(np.int32)
    columns, cost = _list_pairs(predicted, numbers, dy, dx, costs, start)
    return Neighbours(start, columns, cost, int(np.count_nonzero(truth)))


def _disc(radius: float) -> tuple[Indices, Indices, Indices]:
    """Offsets dy, dx with dy^2 + dx^2 <= radius^2, nearest first, and their lengths in hundredths of a pixel."""
    reach = math.floor(radius)
    y, x = np.mgrid[-reach : reach + 1, -reach : reach + 1]
    squares = y**2 + x**2
    inside = np.flatnonzero(squares <= radius**2)
    order = inside[np.argsort(squares.ravel()[inside], kind="stable")]
    costs = np.rint(DISTANCE_UNITS * np.sqrt(squares.ravel()[order]))
    return y.ravel()[order].astype(np.int32), x.ravel()[order].astype(np.int32), costs.astype(np.int32)


def _numbered(truth: NDArray[np.bool_]) -> Indices:
    """The map (h, w) with its ones numbered in row-major order and -1 elsewhere."""
    numbers = np.full(truth.shape, -1, dtype=np.int32)
    numbers[truth] = np.arange(np.count_nonzero(truth), dtype=np.int32)
    return numbers


@compiled
def _count_pairs(predicted, numbers, dy, dx):
    height, width = numbers.shape
    found = np.zeros(len(predicted), dtype=np.int64)
    for i in range(len(predicted)):
        row, column = predicted[i] // width, predicted[i] % width
        for k in range(len(dy)):
            y, x = row + dy[k], column + dx[k]
            if 0 <= y < height and 0 <= x < width and numbers[y, x] >= 0:
                found[i] += 1
    return found


@compiled
def _list_pairs(predicted, numbers, dy, dx, costs, start):
    height, width = numbers.shape
    columns = np.empty(start[-1], dtype=np.int32)
    cost = np.empty(start[-1], dtype=np.int32)
    for i in range(len(predicted)):
        place = start[i]
        row, column = predicted[i] // width, predicted[i] % width
        for k in range(len(dy)):
            y, x = row + dy[k], column + dx[k]
            if 0 <= y < height and 0 <= x < width and numbers[y, x] >= 0:
                columns[place] = numbers[y, x]
                cost[place] = costs[k]
                place += 1
    return columns, cost
