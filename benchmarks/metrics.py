"""How fast the metrics are, as ratios against a named reference in the same run.

`boundary`: odsF, 99 thresholds, against the C++ matching of the BSDS benchmark (`pip install -e '.[benchmarks]'`), or,
where that is not installed, against SciPy's assignment; per image size, with one worker and two, and how the time
grows.
`others`: mIoU, maxF, mErr and RMSE against straightforward loops over classes, thresholds and images.
Times are medians; maps are random scenes of overlapping discs, drawn from fixed seeds.
"""

import argparse
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from statistics import median

import numpy as np
import torch
from rich.console import Console
from rich.table import Table
from scipy.ndimage import gaussian_filter
from scipy.sparse import csr_array
from scipy.sparse.csgraph import min_weight_full_bipartite_matching
from skimage.morphology import thin

from sakbench.metrics import RMSE, MaxF, MeanAngularError, MeanIoU, boundary

SIZES = ((321, 481), (425, 560), (500, 375))
MAX_DIST = 0.0075
SAMPLE = (9, 29, 49, 69, 89)  # thresholds that the slow reference is timed at; its time for 99 is extrapolated


def scene(shape: tuple[int, int], seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Boundaries of overlapping discs, and a prediction of them: blurred, partly missing, with false ones."""
    random = np.random.default_rng(seed)
    y, x = np.mgrid[: shape[0], : shape[1]]
    labels = np.zeros(shape, dtype=np.int64)
    for number in range(1, 25):
        centre, radius = random.uniform(0, 1, 2) * shape, random.uniform(0.05, 0.25) * min(shape)
        labels[np.hypot(y - centre[0], x - centre[1]) < radius] = number
    truth = boundary.label_edges(labels)
    strength = gaussian_filter(random.random(shape), 20)
    strength = (strength - strength.min()) / np.ptp(strength)
    texture = gaussian_filter(random.normal(size=shape), 2)
    line = gaussian_filter(np.roll(truth, random.integers(-1, 2, 2), (0, 1)).astype(float), 1.5)
    return truth, (255 * np.clip(2.5 * line * strength + 0.8 * np.abs(texture), 0, 1)).astype(np.uint8)


def seconds(work: Callable[[], object], repeats: int = 3) -> float:
    times = []
    for _ in range(repeats):
        began = time.perf_counter()
        work()
        times.append(time.perf_counter() - began)
    return median(times)


def score(prediction: np.ndarray, truth: np.ndarray, mode: boundary.Mode, thresholds: np.ndarray) -> object:
    return boundary.counts(boundary.nms(prediction), truth[None], MAX_DIST, thresholds, mode)


def reference() -> tuple[str, Callable[[np.ndarray, np.ndarray], int]]:
    """The name and the matching of the reference."""
    try:
        from pyEdgeEval._lib.correspond_pixels import correspond_pixels
    except ImportError:
        return "SciPy's assignment", _scipy_matches

    def matches(prediction: np.ndarray, truth: np.ndarray) -> int:
        return int((correspond_pixels(prediction, truth, MAX_DIST)[0] > 0).sum())

    return "C++ port (pyEdgeEval)", matches


def _scipy_matches(prediction: np.ndarray, truth: np.ndarray) -> int:
    mine, theirs = np.argwhere(prediction), np.argwhere(truth)
    if not len(mine) or not len(theirs):
        return 0
    squares = ((mine[:, None] - theirs[None]) ** 2).sum(-1)
    near = squares <= (MAX_DIST * np.hypot(*prediction.shape)) ** 2
    costs = csr_array(np.where(near, np.sqrt(squares) + 1, 0))
    alone = csr_array(np.diag(np.full(len(mine), 1e6)))
    rows, columns = min_weight_full_bipartite_matching(csr_array(np.hstack([costs.todense(), alone.todense()])))
    return int((columns[rows] < len(theirs)).sum())


def reference_seconds(prediction: np.ndarray, truth: np.ndarray, matches: Callable[..., int]) -> float:
    """Of an image with 99 thresholds: the same thinning by scikit-image, and the reference's matching."""
    ridges = boundary.nms(prediction)
    thinned = thin(truth)

    def at_some() -> None:
        for k in SAMPLE:
            matches(thin(ridges / 255 >= boundary.THRESHOLDS[k]), thinned)

    return seconds(at_some, repeats=1) * len(boundary.THRESHOLDS) / len(SAMPLE)


def measure_boundary(out: Console) -> None:
    name, matches = reference()
    score(scene((40, 40), 0)[1], scene((40, 40), 0)[0], "exact", boundary.THRESHOLDS)  # compiles
    score(scene((40, 40), 0)[1], scene((40, 40), 0)[0], "seism", boundary.THRESHOLDS)
    table = Table(title=f"odsF, 99 thresholds, seconds per image; reference: {name}, {len(SAMPLE)} thresholds timed")
    for heading in ("size", "reference", "exact", "times", "seism", "times"):
        table.add_column(heading, justify="right")
    for shape in SIZES:
        images = [scene(shape, seed) for seed in range(3)]
        slow = median(reference_seconds(prediction, truth, matches) for truth, prediction in images)
        ours = {
            mode: median(seconds(lambda p=p, t=t, m=mode: score(p, t, m, boundary.THRESHOLDS)) for t, p in images)
            for mode in boundary.MODES
        }
        cells = [cell for mode in boundary.MODES for cell in (f"{ours[mode]:.3f}", f"{slow / ours[mode]:.0f}x")]
        table.add_row(f"{shape[0]}x{shape[1]}", f"{slow:.2f}", *cells)
    out.print(table)

    growth = Table(title="exact: how the time grows (1 = 99 thresholds, 321x481, one image, one worker)")
    growth.add_column("what")
    growth.add_column("times", justify="right")
    truth, prediction = scene(SIZES[0], 0)
    one = seconds(lambda: score(prediction, truth, "exact", boundary.THRESHOLDS), 5)
    for count in (9, 33, 99, 198):
        steps = np.arange(1, count + 1) / (count + 1)
        took = seconds(lambda s=steps: score(prediction, truth, "exact", s), 5)
        growth.add_row(f"{count} thresholds", f"{took / one:.2f}")
    for factor in (0.5, 1, 2):
        true, guess = scene((int(321 * factor), int(481 * factor)), 0)
        took = seconds(lambda t=true, g=guess: score(g, t, "exact", boundary.THRESHOLDS), 3)
        growth.add_row(f"{factor * factor:g} times the pixels", f"{took / one:.2f}")
    images = [scene(SIZES[0], seed) for seed in range(16)]
    for workers in (1, 2):
        with ThreadPoolExecutor(workers) as pool:
            work = list(images)
            took = seconds(
                lambda p=pool, w=work: list(p.map(lambda i: score(i[1], i[0], "exact", boundary.THRESHOLDS), w))
            )
        growth.add_row(f"16 images, {workers} worker{'s' if workers > 1 else ''}", f"{took / one:.2f}")
    out.print(growth)


def loop_miou(prediction: torch.Tensor, target: torch.Tensor, classes: int) -> float:
    total = 0.0
    for c in range(classes):
        hit = union = 0
        for p, t in zip(prediction, target, strict=True):
            valid = t != 255
            hit += int(((p == c) & (t == c) & valid).sum())
            union += int((((p == c) | (t == c)) & valid).sum())
        total += hit / max(union, 1)
    return 100 * total / classes


def loop_maxf(prediction: torch.Tensor, target: torch.Tensor) -> float:
    best = 0.0
    for k in range(1, 20):
        hits = predicted = salient = 0
        for p, t in zip(prediction, target, strict=True):
            valid = t != 255
            hits += int(((p >= k / 20) & (t == 1) & valid).sum())
            predicted += int(((p >= k / 20) & valid).sum())
            salient += int(((t == 1) & valid).sum())
        if hits:
            precision, recall = hits / predicted, hits / salient
            best = max(best, 1.3 * precision * recall / (0.3 * precision + recall))
    return 100 * best


def loop_angles(prediction: torch.Tensor, target: torch.Tensor) -> float:
    total, count = 0.0, 0
    for p, t in zip(prediction, target, strict=True):
        for row in range(p.shape[1]):
            cosine = torch.nn.functional.cosine_similarity(p[:, row], t[:, row], dim=0).clamp(-1, 1)
            total += float(torch.rad2deg(torch.acos(cosine)).sum())
            count += cosine.numel()
    return total / count


def loop_rmse(prediction: torch.Tensor, target: torch.Tensor) -> float:
    total, count = 0.0, 0
    for p, t in zip(prediction, target, strict=True):
        for mine, theirs in zip(p, t, strict=True):
            valid = (theirs > 0) & (theirs < 80)
            total += float(((mine - theirs)[valid].double() ** 2).sum())
            count += int(valid.sum())
    return (total / count) ** 0.5


def measure_others(out: Console) -> None:
    torch.set_num_threads(1)
    generator = torch.Generator().manual_seed(0)
    labels = torch.randint(0, 21, (2, 8, 512, 512), generator=generator).byte()
    chance = torch.rand(8, 512, 512, generator=generator)
    salient = (torch.rand(8, 512, 512, generator=generator) < 0.3).byte()
    normals = torch.nn.functional.normalize(torch.randn(2, 8, 3, 512, 512, generator=generator), dim=2)
    depth = torch.rand(2, 8, 512, 512, generator=generator) * 10 + 0.1
    cases = {
        "mIoU, 21 classes": (lambda: MeanIoU(21), lambda: loop_miou(*labels, 21), labels[0], labels[1]),
        "maxF, 19 thresholds": (MaxF, lambda: loop_maxf(chance, salient), chance, salient),
        "mErr": (MeanAngularError, lambda: loop_angles(*normals), normals[0], normals[1]),
        "RMSE": (RMSE, lambda: loop_rmse(*depth), depth[0], depth[1]),
    }
    table = Table(title="8 images of 512x512, one thread, milliseconds per image; reference: loops")
    for heading in ("metric", "loop", "ours", "times"):
        table.add_column(heading, justify="right")
    for name, (make, loop, prediction, target) in cases.items():

        def ours(make=make, prediction=prediction, target=target) -> float:
            metric = make()
            metric.update(prediction, target)
            return metric.compute()

        if abs(ours() - loop()) > 1e-2:
            raise SystemExit(f"{name}: {ours()} is not the loop's {loop()}")
        slow, fast = seconds(loop), seconds(ours)
        table.add_row(name, f"{slow / 8 * 1e3:.1f}", f"{fast / 8 * 1e3:.1f}", f"{slow / fast:.1f}x")
    out.print(table)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=("boundary", "others"), nargs="?")
    chosen = parser.parse_args().what
    console = Console()
    if chosen != "others":
        measure_boundary(console)
    if chosen != "boundary":
        measure_others(console)
