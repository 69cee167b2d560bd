"""Table 17 as bars: how alike a student's and each teacher's representations are, with and without adapter paths.

Below, how alike the teachers' own representations are: linear CKA of their patch tokens on the miniworld's test images,
computed here from the weights that ship with the package.

python studies/similarity.py --store results/mini.jsonl --output results/similarity.png
"""

from collections.abc import Sequence

import common
import frozen
import numpy as np
import pandas as pd
import torch
from matplotlib.figure import Figure
from torch.nn import functional as F

from sakbench import data
from sakbench.analysis.similarity import linear_cka
from sakbench.errors import UserError
from sakbench.plots import figures
from sakbench.runs.scales import MINI
from sakbench.store import published

ROWS = ("no TSAP", "TSAP")
PAPER = "published, ImageNet-1k"

Bars = dict[str, tuple[list[float], list[float] | None]]


def measured(numbers: pd.DataFrame) -> dict[str, Bars]:
    """The cosines in a store's Table 17, by their data set."""
    blocks = {}
    for summary in common.summaries(numbers, ("table17",)):
        bars: Bars = {}
        for line in summary.lines:
            if line.row in ROWS and all(f"rep_sim {teacher}" in line.measured for teacher in MINI.teachers):
                found = [line.measured[f"rep_sim {teacher}"] for teacher in MINI.teachers]
                spreads = [one.spread for one in found if one.spread is not None]
                bars[line.row] = ([one.mean for one in found], spreads or None)
        if not bars:
            raise UserError("Table 17 lacks the similarity to each teacher: `sakbench run table17` fills it.")
        blocks[f"measured, {summary.scale.dataset}"] = bars
    return blocks


def paper() -> dict[str, Bars]:
    """The paper's Table 17."""
    rows = published.table("table17")
    values = rows.set_index(["row", "task"])["value"]
    return {PAPER: {row: ([float(values[row, f"rep_sim {name}"]) for name in MINI.teachers], None) for row in ROWS}}


def cka(models: Sequence[str], images: int = MINI.test_images) -> np.ndarray:
    """Linear CKA (levels, models, models) between frozen backbones, of patch tokens on miniworld's test images.

    Tokens are averaged to the coarsest grid among the models, so that every model has one for each place.
    """
    split = data.load(MINI.dataset, "test", images)
    features = [frozen.level_maps(name, split) for name in models]
    levels = []
    for maps in zip(*features, strict=True):
        grid = min(level.shape[-2:] for level in maps)
        pooled = [F.adaptive_avg_pool2d(torch.from_numpy(level), grid) for level in maps]
        tokens = [level.permute(0, 2, 3, 1).flatten(0, 2).numpy() for level in pooled]
        levels.append([[linear_cka(one, other) for other in tokens] for one in tokens])
    return np.array(levels)


def figure(cosines: dict[str, Bars]) -> Figure:
    models = list(frozen.MODELS)
    return figures.similarity(
        cosines,
        list(MINI.teachers),
        cka(models),
        models,
        [f"level {number}" for number in (1, 2, 3, 4)],
        heading=f"linear CKA of frozen backbones' patch tokens, {MINI.test_images} test images of {MINI.dataset}",
    )


def main(words: Sequence[str] | None = None) -> None:
    options = common.parser(__doc__, "results/similarity.png")
    options.add_argument("--published", action="store_true", help="the paper's cosines alone")

    def study(chosen: common.Options) -> Figure:
        return figure(({} if chosen.published else measured(common.frame(chosen.store))) | paper())

    common.draw(options, study, words)


if __name__ == "__main__":
    main()
