"""Figure 1, left: what frozen backbones are good and bad at, next to the frozen ImageNet ViT.

python studies/bias_profile.py --store results/mini.jsonl --output results/bias_profile.png
"""

from collections.abc import Sequence

import common
import pandas as pd
from matplotlib.figure import Figure

from sakbench.analysis.profile import mean_profiles, row_profiles
from sakbench.errors import UserError
from sakbench.plots import figures
from sakbench.report.summary import FREEZE, PROFILE, VIT_FREEZE
from sakbench.store import published
from sakbench.tasks.names import TASKS

EXPERIMENTS = ("table12", "figure1")


def measured(numbers: pd.DataFrame, *, radar: bool = False) -> Figure:
    """The frozen rows of a store's Table 12, or of Figure 1."""
    frozen = numbers[numbers["row"].str.endswith(FREEZE)]
    whole = [name for name in EXPERIMENTS if {VIT_FREEZE} < set(frozen.loc[frozen["table"] == name, "row"])]
    if not whole:
        raise UserError("the store holds no frozen ViT and other frozen model: `sakbench run figure1` fills it.")
    summary = common.summaries(frozen, whole)[0]
    runs = {run for line in summary.lines for run in line.runs}
    rows = frozen[(frozen["table"] == summary.experiment.name) & frozen["run"].isin(runs)]
    return _figure(rows, f"Frozen backbones, {common.about(summary)}", radar=radar)


def paper(*, radar: bool = False) -> Figure:
    """The frozen rows of the paper's Table 12."""
    rows = published.table("table12")
    rows = rows[rows["row"].str.endswith(FREEZE) & rows["task"].isin(TASKS)]
    return _figure(rows.assign(scale="paper", seed=0), "Frozen backbones, the paper's on PASCAL-Context", radar=radar)


def _figure(frozen: pd.DataFrame, title: str, *, radar: bool) -> Figure:
    tasks = [task for task in TASKS if task in set(frozen["task"])]
    seeds = row_profiles(frozen)
    summary = mean_profiles(frozen).set_index("row")[list(PROFILE.values())]
    rows = [row for row in summary.index if row != VIT_FREEZE]
    draw = figures.radar if radar else figures.bias_profile
    figure = draw(
        {row.removesuffix(FREEZE): seeds.loc[seeds["row"] == row, tasks].to_numpy() for row in rows},
        tasks,
        {row.removesuffix(FREEZE): tuple(summary.loc[row]) for row in rows},
        reference="the frozen ViT",
    )
    marks = f"\n{'lines' if radar else 'bars'} are means, dots are seeds" if len(seeds) > len(summary) else ""
    figure.suptitle(title + marks, fontsize=9)
    return figure


def main(words: Sequence[str] | None = None) -> None:
    options = common.parser(__doc__, "results/bias_profile.png")
    options.add_argument("--radar", action="store_true", help="a radar instead of bars")
    options.add_argument("--published", action="store_true", help="the paper's numbers instead of a store's")

    def study(chosen: common.Options) -> Figure:
        return (
            paper(radar=chosen.radar) if chosen.published else measured(common.frame(chosen.store), radar=chosen.radar)
        )

    common.draw(options, study, words)


if __name__ == "__main__":
    main()
