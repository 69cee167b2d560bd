"""Figure 5 and Table 18: how much of the labelled images the methods need.

python studies/data_percentage.py --store results/mini.jsonl --output results/data_percentage.png
"""

import re
from collections.abc import Sequence

import common
import pandas as pd
from matplotlib.figure import Figure

from sakbench.plots import figures

EXPERIMENTS = ("table18", "figure5")
PAPER = "published for PASCAL-Context (Table 18)"


def measured(numbers: pd.DataFrame) -> dict[str, common.Panels]:
    """The rows of a store's Table 18, by their data set."""
    found = common.summaries(numbers, EXPERIMENTS)
    return {common.about(one): common.panels(common.measured_points(one, _place)) for one in found}


def paper() -> dict[str, common.Panels]:
    """The paper's Table 18."""
    return {PAPER: common.panels(common.published_points("table18", lambda group: float(group.removesuffix("%"))))}


def figure(blocks: dict[str, common.Panels]) -> Figure:
    return figures.curves(blocks, "labelled images (%)")


def _place(row: str) -> tuple[str, float] | None:
    """'25% RADIO' is a point of RADIO at 25."""
    found = re.fullmatch(r"(\d+)% (.+)", row)
    return (found[2], float(found[1])) if found else None


def main(words: Sequence[str] | None = None) -> None:
    options = common.parser(__doc__, "results/data_percentage.png")
    options.add_argument("--published", action="store_true", help="the paper's numbers alone")

    def study(chosen: common.Options) -> Figure:
        return figure(({} if chosen.published else measured(common.frame(chosen.store))) | paper())

    common.draw(options, study, words)


if __name__ == "__main__":
    main()
