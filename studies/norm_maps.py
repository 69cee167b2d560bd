"""Figure 6: norm maps of frozen backbones on cats, and on dogs of the same shape in the same place.

The pairs are exact: nothing but the animal's texture differs. Printed beside the figure, over many pairs: how far the
object's norms stand out from the background's, by the object's size, and where the tokens change when a cat becomes a
dog.

python studies/norm_maps.py --output results/norm_maps.png
"""

from collections.abc import Sequence
from dataclasses import dataclass

import common
import frozen
import numpy as np
from matplotlib.figure import Figure

from sakbench.analysis.norm_maps import changes, contrast, inside_share, norm_maps, shares
from sakbench.data.miniworld.pairs import Pairs, pairs
from sakbench.plots import figures

SIZES = {"small": (0, 24), "middle": (24, 40), "large": (40, 128)}  # the root of an object's area, pixels of 128
Seen = dict[str, tuple[np.ndarray, np.ndarray, np.ndarray]]


@dataclass(frozen=True)
class Numbers:
    """Of one model, over the pairs: norm contrast by size, and where tokens change."""

    contrasts: dict[str, float]
    inside: float
    outside_change: float
    inside_change: float


def seen(cats: Pairs) -> Seen:
    """Per model the norms before and after, and the change, each (n, h, w)."""
    found = {}
    for name in frozen.MODELS:
        before, after = (frozen.level_maps(name, pictures)[-1] for pictures in (cats.before, cats.after))
        found[name] = norm_maps(before), norm_maps(after), changes(before, after)
    return found


def numbers(cats: Pairs, maps: Seen) -> dict[str, Numbers]:
    """What the maps say over all pairs."""
    found = {}
    for name, (norms, _, change) in maps.items():
        share = shares(cats.mask, (norms.shape[1], norms.shape[2]))
        stands_out = contrast(norms, share)
        of_size = {size: (cats.sides >= low) & (cats.sides < high) for size, (low, high) in SIZES.items()}
        within = (change * share).sum((1, 2)) / share.sum((1, 2))
        around = (change * (1 - share)).sum((1, 2)) / (1 - share).sum((1, 2))
        found[name] = Numbers(
            {size: float(np.nanmean(stands_out[chosen])) for size, chosen in of_size.items() if chosen.any()},
            float(np.nanmean(inside_share(change, share))),
            float(around.mean()),
            float(within.mean()),
        )
    return found


def print_numbers(cats: Pairs, found: dict[str, Numbers]) -> None:
    """The table beside the figure."""
    sizes = list(next(iter(found.values())).contrasts)
    counts = {size: int(((cats.sides >= low) & (cats.sides < high)).sum()) for size, (low, high) in SIZES.items()}
    frozen.print_numbers(
        f"Norms and changes of the last level's tokens · {len(cats)} pairs of miniworld's test scenes",
        [*(f"contrast, {size} ({counts[size]})" for size in sizes), "change inside", "outside", "share inside %"],
        {
            name: [
                *(f"{one.contrasts[size]:.2f}" for size in sizes),
                f"{one.inside_change:.3f}",
                f"{one.outside_change:.3f}",
                f"{100 * one.inside:.0f}",
            ]
            for name, one in found.items()
        },
        f"contrast: mean norm of the object's tokens over the background's; the object covers"
        f" {100 * cats.mask.mean():.0f}% of an image on average\n"
        "change: of a token, in units of the image's root mean square norm; share inside: of all squared change",
    )


def shown(cats: Pairs) -> list[int]:
    """One pair of each size: that in which most is to be seen, the colours of the object changing most."""
    apart = np.abs(cats.after.images.astype(int) - cats.before.images).mean(-1)
    change = (apart * cats.mask).sum((1, 2)) / cats.mask.sum((1, 2))
    chosen = []
    for low, high in SIZES.values():
        of_size = np.flatnonzero((cats.sides >= low) & (cats.sides < high))
        if len(of_size):
            chosen.append(int(of_size[change[of_size].argmax()]))
    return chosen


def study(options: common.Options) -> Figure:
    """Print the numbers of all pairs; the figure shows one pair of each size."""
    cats = pairs("cat", "dog", "test", options.count)
    maps = seen(cats)
    print_numbers(cats, numbers(cats, maps))
    rows = shown(cats)
    return figures.norm_maps(
        {"cat": cats.before.images[rows], "dog": cats.after.images[rows]},
        {name: (a[rows], b[rows], c[rows]) for name, (a, b, c) in maps.items()},
    )


def main(words: Sequence[str] | None = None) -> None:
    options = common.parser(__doc__, "results/norm_maps.png", store=False)
    options.add_argument(
        "--count", type=common.at_least(3), default=120, help="pairs to measure (default: %(default)s)"
    )
    common.draw(options, study, words)


if __name__ == "__main__":
    main()
