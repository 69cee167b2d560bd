"""Thinning of binary maps to lines one pixel wide: Guo and Hall's two-pass algorithm, until nothing changes."""

import numpy as np

from sakbench.metrics.boundary.arrays import BoolMap, require_map
from sakbench.metrics.boundary.compiled import compiled


def thin(mask: BoolMap) -> BoolMap:
    """The mask (h, w) thinned until it is stable, as MATLAB's `bwmorph(mask, 'thin', inf)` and scikit-image's `thin`.

    Z. Guo and R. W. Hall, Parallel thinning with two-subiteration algorithms, 1989. Raises UserError unless `mask` is a
    two-dimensional boolean array.
    """
    require_map("mask", mask, np.bool_)
    pixels, _ = thin_levels(mask.view(np.uint8), np.ones(1, dtype=np.int64))
    thinned = np.zeros(mask.shape, dtype=np.bool_)
    thinned.ravel()[pixels] = True
    return thinned


def _removable() -> np.ndarray:
    """Whether a pixel goes, bool (2, 256): by pass and by its neighbours, bit i being the i-th counterclockwise from E.

    A pixel goes where its neighbours form one arc (so that nothing breaks), the arc is neither a line's end nor thick
    all round, and the pass's half of the compass (south-east, then north-west) allows it.
    """
    table = np.zeros((2, 256), dtype=np.bool_)
    for code in range(256):
        on = [bool(code >> i & 1) for i in range(8)]
        arcs = sum(not on[2 * k] and (on[2 * k + 1] or on[(2 * k + 2) % 8]) for k in range(4))
        pairs = (
            sum(on[2 * k] or on[2 * k + 1] for k in range(4)),
            sum(on[2 * k + 1] or on[(2 * k + 2) % 8] for k in range(4)),
        )
        if arcs != 1 or not 2 <= min(pairs) <= 3:
            continue
        table[0, code] = not ((on[1] or on[2] or not on[7]) and on[0])
        table[1, code] = not ((on[5] or on[6] or not on[3]) and on[4])
    return table


_REMOVABLE = _removable()


@compiled
def thin_levels(prediction, levels):
    """What is left of `prediction >= level` after thinning, for each of the levels.

    Returns the flat indices (int32) of the pixels that remain, level after level and in row-major order, and where each
    level's begin (one entry more than levels).
    """
    height, width = prediction.shape
    wide = width + 2
    lowest = levels.min() if len(levels) else 256
    rows, columns = np.nonzero(prediction >= lowest)
    flat = np.zeros((height + 2) * wide, dtype=np.uint8)
    queued = np.zeros((2, len(flat)), dtype=np.bool_)
    candidates = np.empty((2, len(rows)), dtype=np.int32)
    pixels = np.empty(len(rows), dtype=np.int32)
    gone = np.empty(len(rows), dtype=np.int32)
    left = [np.empty(0, dtype=np.int32) for _ in range(len(levels))]
    start = np.zeros(len(levels) + 1, dtype=np.int64)
    for i in range(len(levels)):
        count = 0
        for k in range(len(rows)):
            if prediction[rows[k], columns[k]] >= levels[i]:
                pixels[count] = (rows[k] + 1) * wide + columns[k] + 1
                flat[pixels[count]] = 1
                count += 1
        _thin(flat, wide, pixels[:count], queued, candidates, gone)
        kept = 0
        for k in range(count):
            if flat[pixels[k]]:
                flat[pixels[k]] = 0
                pixels[kept] = (pixels[k] // wide - 1) * width + pixels[k] % wide - 1
                kept += 1
        left[i] = pixels[:kept].copy()
        start[i + 1] = start[i] + kept
    together = np.empty(start[-1], dtype=np.int32)
    for i in range(len(levels)):
        together[start[i] : start[i + 1]] = left[i]
    return together, start


@compiled
def _thin(flat, width, pixels, queued, candidates, gone):
    """Thin `flat`, a map with a border of zeros, in place; `pixels` are the indices of its ones.

    A pixel that one look left alone is looked at again only after a neighbour has gone: `queued` tells for each of the
    two passes which pixels are among its `candidates`; it is all false before and after.
    """
    around = np.array([1, 1 - width, -width, -width - 1, -1, width - 1, width, width + 1])
    counts = np.array([len(pixels), len(pixels)])
    for which in range(2):
        for i in range(len(pixels)):
            candidates[which, i] = pixels[i]
            queued[which, pixels[i]] = True
    while counts[0] + counts[1] > 0:
        for which in range(2):
            removed = 0
            for i in range(counts[which]):
                pixel = candidates[which, i]
                queued[which, pixel] = False
                if flat[pixel] == 0:
                    continue
                code = 0
                for k in range(8):
                    code |= flat[pixel + around[k]] << k
                if _REMOVABLE[which, code]:
                    gone[removed] = pixel
                    removed += 1
            counts[which] = 0
            for i in range(removed):
                flat[gone[i]] = 0
            for i in range(removed):
                for k in range(8):
                    neighbour = gone[i] + around[k]
                    if flat[neighbour] == 0:
                        continue
                    for later in range(2):
                        if not queued[later, neighbour]:
                            queued[later, neighbour] = True
                            candidates[later, counts[later]] = neighbour
                            counts[later] += 1
