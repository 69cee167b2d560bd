"""How odsF agrees with others' code: SEISM's counts by MATLAB, and suppression with the C++ port.

`--matlab DIR` holds MATLAB's per-image counts as .npz files, which may not be shipped: `m_*.npz` with `level`, `segs`,
`max_dist`, `cntR`, `sumR`, `cntP`, `sumP`; `a_*.npz` with `counts`, `thresholds` and the published ODS, OIS, AP.
The C++ port comes with `pip install -e '.[benchmarks]'`.
"""

import argparse
from pathlib import Path

import numpy as np
from metrics import SIZES, scene

from sakbench.metrics import boundary
from sakbench.metrics.boundary.suppression import normal, ridges, smoothed


def matlab(folder: Path) -> None:
    for file in sorted(folder.glob("m_*.npz")):
        known = np.load(file)
        truths = np.stack([boundary.label_edges(labels) for labels in known["segs"]])
        for mode in boundary.MODES:
            steps = np.arange(1, 100) / 255  # the file's levels count thresholds
            found = boundary.counts(known["level"], truths, float(known["max_dist"]), steps, mode)
            for name, counted in zip(("cntR", "sumR", "cntP", "sumP"), found, strict=True):
                off = counted - known[name]
                print(f"{file.stem} {mode} {name}: {off.min()} to {off.max()}, mean {off.mean():.2f}")
    for file in sorted(folder.glob("a_*.npz")):
        known = np.load(file)
        summary = boundary.summarize(known["counts"], known["thresholds"])
        print(f"{file.stem}: ODS {summary.ods:.4f}, OIS {summary.ois:.4f}, AP {summary.ap:.4f}; ", known["published"])


def suppression() -> None:
    from pyEdgeEval._lib.nms import nms

    for shape in SIZES:
        strength = smoothed(scene(shape, seed=1)[1])
        cosine, sine = normal(strength)
        for radius in (4, 1):
            theirs = nms(strength, np.arctan2(sine, cosine), radius, 5, 1.01)
            ours = ridges(strength, cosine, sine, radius)
            other, kept = np.count_nonzero((theirs > 0) != (ours > 0)), np.count_nonzero(ours)
            print(f"{shape} radius {radius}: {other} of {kept} pixels differ, values by {abs(theirs - ours).max():.1e}")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--matlab", type=Path, metavar="DIR")
    folder = parser.parse_args().matlab
    if folder:
        matlab(folder)
    else:
        suppression()
