"""Figure 3: methods beside each other on each data set, with their Δm.

python studies/methods.py --store results/mini.jsonl --output results/methods.png
"""

from collections.abc import Mapping, Sequence

import common
import pandas as pd
from matplotlib.figure import Figure

from sakbench.analysis.gain import relative_improvement
from sakbench.errors import UserError
from sakbench.plots import figures
from sakbench.plots.figures import Gains
from sakbench.report.summary import Summary
from sakbench.store import published
from sakbench.tasks.names import TASKS

EXPERIMENTS = ("table13", "table14", "figure3", "table5", "table6", "table15", "table16")
BASELINE = "Single-task baseline"
HIGHER = {task.name: task.higher_is_better for task in TASKS.values()}


def measured(numbers: pd.DataFrame) -> dict[str, dict[str, Gains]]:
    """The methods in a store's Tables 13 and 14, or Figure 3, by their data set."""
    return {common.about(summary): _gains(summary) for summary in common.summaries(numbers, EXPERIMENTS)}


def paper() -> dict[str, dict[str, Gains]]:
    """The paper's Tables 13 (PASCAL-Context) and 14 (NYUD-v2)."""
    blocks = {}
    for name in ("table13", "table14"):
        rows = published.table(name)
        values = {
            str(row): dict(zip(lines["task"], lines["value"], strict=True))
            for row, lines in rows.groupby("row", sort=False)
        }
        base = _tasks(values[BASELINE])
        blocks[f"published for {rows['dataset'].iloc[0]}, ViT-B"] = {
            row: Gains(relative_improvement(_tasks(numbers), base, HIGHER), numbers["delta_m"])
            for row, numbers in values.items()
            if row != BASELINE
        }
    return blocks


def _gains(summary: Summary) -> dict[str, Gains]:
    lines = {line.row: line for line in summary.lines if line.measured}
    if BASELINE not in lines or len(lines) < 2:
        raise UserError(
            f"the store holds no method and the {BASELINE.lower()} on {summary.scale.dataset}: `sakbench"
            f" {summary.experiment.command}` fills it."
        )
    base = {task: lines[BASELINE].measured[task].mean for task in summary.scale.tasks}
    methods = {}
    for row, line in lines.items():
        if row != BASELINE and line.delta_m:
            spreads = {task: line.measured[task].spread for task in base}
            methods[row] = Gains(
                relative_improvement({task: line.measured[task].mean for task in base}, base, HIGHER),
                line.delta_m.mean,
                {task: 100 * spread / base[task] for task, spread in spreads.items() if spread is not None},
                line.delta_m.spread,
            )
    return methods


def _tasks(values: Mapping[str, float]) -> dict[str, float]:
    return {name: value for name, value in values.items() if name in TASKS}


def main(words: Sequence[str] | None = None) -> None:
    options = common.parser(__doc__, "results/methods.png")
    options.add_argument("--published", action="store_true", help="the paper's numbers instead of a store's")

    def study(chosen: common.Options) -> Figure:
        return figures.methods(paper() if chosen.published else measured(common.frame(chosen.store)))

    common.draw(options, study, words)


if __name__ == "__main__":
    main()
