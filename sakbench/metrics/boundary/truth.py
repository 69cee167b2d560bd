"""From what data sets store to boundary maps: the two conventions of ground truth."""

import numpy as np
from numpy.typing import NDArray

from sakbench.metrics.boundary.arrays import BoolMap, require_map


def label_edges(labels: NDArray[np.integer]) -> BoolMap:
    """Where a label map (h, w) differs from the pixel to the right, below, or right below it: `seg2bmap`, bool (h, w).

    SEISM makes PASCAL-Context's boundaries of its label maps so. For NYUD-v2 it passes the boundary map itself through
    this, as if it were a label map, which doubles its lines; what is to compare with published scores does the same.
    """
    kind = getattr(labels, "dtype", None)
    require_map("labels", labels, kind.type if kind is not None and kind.kind in "biu" else np.uint8)
    beyond = np.pad(labels, ((0, 1), (0, 1)), mode="edge")
    here = beyond[:-1, :-1]
    return (here != beyond[:-1, 1:]) | (here != beyond[1:, :-1]) | (here != beyond[1:, 1:])
