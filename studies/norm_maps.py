"""Figure 6: what frozen backbones make of cats, and of dogs of the same shape in the same place.

The pairs are exact: nothing but the animal's texture differs. What the models saw is read from the runs of `sakbench
run figure6`, which prints its numbers over all pairs; for pairs of photographs `sakbench pairs probe DIR` does both. Of
the pairs a small and a large animal are shown, those whose colours change most.

python studies/norm_maps.py --runs results/runs --output results/norm_maps.png
"""

from collections.abc import Sequence
from pathlib import Path

import common
from matplotlib.figure import Figure

from sakbench.experiments import tables
from sakbench.report.pairs_probing import draw
from sakbench.runs.scales import MINI


def study(options: common.Options) -> Figure:
    """The figure of the runs in a folder."""
    return draw(tables.get("figure6"), MINI, options.runs)


def main(words: Sequence[str] | None = None) -> None:
    options = common.parser(__doc__, "results/norm_maps.png", store=False)
    options.add_argument(
        "--runs", type=Path, default=Path("results/runs"), help="folder of runs (default: %(default)s)"
    )
    common.draw(options, study, words)


if __name__ == "__main__":
    main()
