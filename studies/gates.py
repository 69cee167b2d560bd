"""Figures 4, 7 and 8: how the routers of SAK weigh the stem and the teachers' paths, level by level, task by task.

python studies/gates.py --store results/mini.jsonl --output results/gates.png
"""

from collections.abc import Sequence
from dataclasses import dataclass

import common
import numpy as np
from matplotlib.figure import Figure

from sakbench.analysis.gates import stacked
from sakbench.errors import UserError
from sakbench.plots import figures
from sakbench.store import open_store

# Where a SAK student of the paper's three teachers stands, the first that is there on each data set.
ROWS = (
    ("figure4", "SAK"),
    ("figure7", "SAK"),
    ("figure8", "SAK"),
    ("table13", "SAK"),
    ("table7", "DINOv2+CLIP+SAM"),
    ("table14", "SAK"),
)

_LEVELS = ("level 1 (lowest)", "level 2", "level 3", "level 4 (highest)")


@dataclass(frozen=True)
class Routers:
    """The mean gates (seeds, levels, tasks, experts) of SAK students on one data set."""

    weights: np.ndarray
    tasks: list[str]
    experts: list[str]


def measured(place: str) -> dict[str, Routers]:
    """The gates that the runs of a store noted, by data set."""
    store = open_store(place, write=False)
    numbers = store.frame()
    found: dict[str, Routers] = {}
    for table, row in ROWS:
        rows = numbers[(numbers["table"] == table) & (numbers["row"] == row)]
        for dataset, part in rows.groupby("dataset", sort=False):
            records = [store.lookup(run) for run in part.drop_duplicates("run").sort_values("seed")["run"]]
            if str(dataset) not in found and all("gates" in record.notes for record in records):
                spec = records[0].spec
                experts = ["stem", *(name for name, _ in spec["teachers"])]
                try:
                    weights = stacked([record.notes["gates"] for record in records])
                except (TypeError, ValueError) as error:
                    raise UserError(
                        f"the gates that the runs of {row} in {table} noted cannot be read: {error}"
                    ) from error
                found[str(dataset)] = Routers(weights, list(spec["tasks"]), experts)
    if not found:
        raise UserError("the store holds no SAK student with routers: `sakbench run figure7` fills it.")
    return found


def figure(routers: dict[str, Routers], levels: Sequence[int] = (1, 2, 3, 4)) -> Figure:
    """All levels (Figures 7 and 8), or the lowest and the highest (Figure 4)."""
    chosen = [level - 1 for level in levels]
    return figures.gates(
        {
            f"{dataset} ({len(one.weights)} seed{'s' * (len(one.weights) > 1)})": {
                task: one.weights[:, chosen, number] for number, task in enumerate(one.tasks)
            }
            for dataset, one in routers.items()
        },
        [_LEVELS[level - 1] for level in levels],
        next(iter(routers.values())).experts,
    )


def main(words: Sequence[str] | None = None) -> None:
    options = common.parser(__doc__, "results/gates.png")
    common.draw(options, lambda chosen: figure(measured(chosen.store)), words)


if __name__ == "__main__":
    main()
