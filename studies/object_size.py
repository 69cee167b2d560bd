"""Bias against object size: how well frozen features tell what small and large objects are.

Each object of a scene is one vector, its mean token at each of the four levels; a linear classifier learns the class of
the training scenes' objects and is asked for those of the test scenes, by size. Bars are 95% intervals, by a bootstrap
over scenes.

python studies/object_size.py --output results/object_size.png
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import common
import frozen
import numpy as np
from matplotlib.figure import Figure

from sakbench import data
from sakbench.analysis.norm_maps import shares
from sakbench.analysis.objects import interval, linear_hits, object_vectors
from sakbench.data import miniworld
from sakbench.plots import figures
from sakbench.runs.scales import MINI

EDGES = (0.0, 0.15, 0.22, 0.33, 0.5, 1.0)  # the root of an object's visible area, as a share of the image's side
SIZES = [f"{100 * low:.0f} to {100 * high:.0f}" for low, high in pairwise(EDGES)]
_LEAST = 4  # label pixels of 64 x 64: what is smaller is hardly seen


@dataclass(frozen=True)
class Objects:
    """The labelled objects of some scenes: scene and label (n,), mask bool (n, 64, 64)."""

    scene: np.ndarray
    label: np.ndarray
    mask: np.ndarray

    @property
    def size(self) -> np.ndarray:
        """The place of each object's size in SIZES, (n,)."""
        sides = np.sqrt(self.mask.mean((1, 2)))
        return np.digitize(sides, EDGES[1:-1])


def objects(split: miniworld.Split, count: int) -> Objects:
    """All labelled objects in the first `count` scenes that show at least a few pixels."""
    found = []
    for scene in range(count):
        instance, semseg = (split.labels[name][scene] for name in ("instance", "semseg"))
        for number in np.unique(instance[semseg > 0]):
            mask = instance == number
            if mask.sum() >= _LEAST:
                found.append((scene, np.bincount(semseg[mask]).argmax(), mask))
    scenes, labels, masks = (np.stack(part) for part in zip(*found, strict=True))
    return Objects(scenes, labels, masks)


def vectors(levels: Sequence[np.ndarray], seen: Objects) -> np.ndarray:
    """The objects' mean tokens at all levels, (n, levels * d), from maps (scenes, d, h, w) of each level."""
    parts = []
    for maps in levels:
        share = shares(seen.mask, maps.shape[-2:])
        parts.append(
            np.concatenate([object_vectors(maps[[s]], one[None]) for s, one in zip(seen.scene, share, strict=True)])
        )
    return np.concatenate(parts, axis=1)


def hits(train: int, test: int) -> tuple[Objects, dict[str, np.ndarray]]:
    """The test scenes' objects, and per model whether each was named rightly, bool (n,)."""
    splits = {name: data.load(MINI.dataset, name, count) for name, count in (("train", train), ("test", test))}
    learned, asked = objects(splits["train"], train), objects(splits["test"], test)
    found = {}
    for model in frozen.MODELS:
        of_train, of_test = (
            vectors(frozen.level_maps(model, splits[name]), seen)
            for name, seen in (("train", learned), ("test", asked))
        )
        found[model] = linear_hits(of_train, learned.label, of_test, asked.label)
    return asked, found


def by_size(asked: Objects, right: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Accuracy in percent for each of SIZES (n,), and its interval (n, 2)."""
    of_size = [asked.size == place for place in range(len(SIZES))]
    values = [right[chosen].mean() for chosen in of_size]
    ends = [interval(right[chosen], asked.scene[chosen]) for chosen in of_size]
    return 100 * np.array(values), 100 * np.array(ends)


def study(options: common.Options) -> Figure:
    """Print accuracies by size; the figure shows them."""
    asked, found = hits(options.train, MINI.test_images)
    points = {model: by_size(asked, right) for model, right in found.items()}
    counts = np.bincount(asked.size, minlength=len(SIZES))
    frozen.print_numbers(
        f"Accuracy (%) of a linear classifier on {len(asked.label)} objects of {MINI.test_images} test scenes, by size",
        [*(f"{size}\n({count})" for size, count in zip(SIZES, counts, strict=True)), "all"],
        {
            model: [*(f"{value:.0f}" for value in values), f"{100 * found[model].mean():.1f}"]
            for model, (values, _) in points.items()
        },
        f"size: the root of the visible area, in % of the image's side; learned from {options.train} training scenes",
    )
    return figures.points(
        SIZES,
        points,
        ylabel="objects named rightly (%)",
        xlabel="size: root of the visible area, % of the image's side",
    )


def main(words: Sequence[str] | None = None) -> None:
    options = common.parser(__doc__, "results/object_size.png", store=False)
    options.add_argument(
        "--train", type=common.at_least(1), default=1000, help="scenes to learn from (default: %(default)s)"
    )
    common.draw(options, study, words)


if __name__ == "__main__":
    main()
