"""Table 20 as curves: what the weight γ of the distillation loss does in stage 2.

python studies/gamma.py --store results/mini.jsonl --output results/gamma.png
"""

from collections.abc import Sequence

import common
import pandas as pd
from matplotlib.figure import Figure

from sakbench.plots import figures

EXPERIMENTS = ("table20",)
PAPER = "published for PASCAL-Context (Table 20)"
_GAMMA = "γ = "


def measured(numbers: pd.DataFrame) -> dict[str, common.Panels]:
    """The rows of a store's Table 20, by their data set."""
    found = common.summaries(numbers, EXPERIMENTS)
    return {common.about(one): common.panels(common.measured_points(one, _place)) for one in found}


def paper() -> dict[str, common.Panels]:
    """The paper's Table 20."""
    return {PAPER: common.panels(common.published_points("table20", lambda group: float(group.removeprefix(_GAMMA))))}


def figure(blocks: dict[str, common.Panels]) -> Figure:
    return figures.curves(blocks, "γ, the weight of the distillation loss")


def _place(row: str) -> tuple[str, float] | None:
    """'γ = 0.5' is a point of SAK at 0.5."""
    return ("SAK", float(row.removeprefix(_GAMMA))) if row.startswith(_GAMMA) else None


def main(words: Sequence[str] | None = None) -> None:
    options = common.parser(__doc__, "results/gamma.png")
    options.add_argument("--published", action="store_true", help="the paper's numbers alone")

    def study(chosen: common.Options) -> Figure:
        return figure(({} if chosen.published else measured(common.frame(chosen.store))) | paper())

    common.draw(options, study, words)


if __name__ == "__main__":
    main()
