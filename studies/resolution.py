"""How much of SAM's advantage is resolution: SAM beside random weights that see the same fine tokens.

SAM's encoder has twice as many tokens a side as the others. Its architecture with weights that nobody trained has them
too: what it gains over the frozen ViT is due to resolution, what SAM gains beyond it to what SAM has learned.

python studies/resolution.py --store results/mini.jsonl --output results/resolution.png
"""

from collections.abc import Sequence

import common
import frozen
import pandas as pd
from matplotlib.figure import Figure

from sakbench.analysis.profile import mean_profiles, row_profiles
from sakbench.errors import UserError
from sakbench.plots import figures
from sakbench.report.summary import FREEZE, PROFILE, VIT_FREEZE
from sakbench.runs.scales import MINI
from sakbench.tasks.names import TASKS

CONTROL = f"random weights at SAM's resolution{FREEZE}"
SAM = f"SAM{FREEZE}"


def gains(numbers: pd.DataFrame) -> tuple[pd.DataFrame, pd.DataFrame]:
    """SAM and the control in a store's Table 12: improvements over the frozen ViT of each seed, and mean profiles.

    Raises `UserError` if one of the three rows is missing.
    """
    places = numbers["table"].eq("table12") & numbers["dataset"].eq(MINI.dataset) & numbers["scale"].eq(MINI.name)
    rows = numbers[places & numbers["row"].isin([VIT_FREEZE, CONTROL, SAM])]
    missing = [row for row in (VIT_FREEZE, CONTROL, SAM) if row not in set(rows["row"])]
    if missing:
        raise UserError(
            f"the store holds no {' and no '.join(missing)}: `sakbench run table12 --rows Freeze` fills it."
        )
    return row_profiles(rows), mean_profiles(rows)


def study(options: common.Options) -> Figure:
    """Print what SAM gains with and without what it learned; the figure shows both."""
    seeds, means = gains(common.frame(options.store))
    tasks = [task for task in TASKS if task in seeds.columns]
    mean = seeds.groupby("row")[tasks].mean()
    frozen.print_numbers(
        "Relative improvement over the frozen ViT (%), mean over seeds",
        tasks,
        {
            "random weights, SAM's resolution": [f"{value:+.1f}" for value in mean.loc[CONTROL]],
            "SAM": [f"{value:+.1f}" for value in mean.loc[SAM]],
            "what SAM has learned": [f"{value:+.1f}" for value in mean.loc[SAM] - mean.loc[CONTROL]],
        },
        "the control has SAM's architecture and tokens, and weights that nobody trained",
    )
    profiles = means.set_index("row")[list(PROFILE.values())]
    return figures.bias_profile(
        {_name(row): seeds.loc[seeds["row"] == row, tasks].to_numpy() for row in (CONTROL, SAM)},
        tasks,
        {_name(row): tuple(profiles.loc[row]) for row in (CONTROL, SAM)},
        reference="the frozen ViT",
    )


def _name(row: str) -> str:
    return row.removesuffix(FREEZE)


def main(words: Sequence[str] | None = None) -> None:
    common.draw(common.parser(__doc__, "results/resolution.png"), study, words)


if __name__ == "__main__":
    main()
