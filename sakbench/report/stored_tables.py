"""Lines of a table as the store has them, for commands that look at some of its rows."""

import pandas as pd

from sakbench.errors import UserError, unknown
from sakbench.experiments import tables
from sakbench.experiments.rows import Experiment
from sakbench.report.summary import filled_by, of_today
from sakbench.runs.scales import Scale, dataset_of
from sakbench.runs.scales import get as get_scale
from sakbench.store.database import Store


def stored_lines(store: Store, table: str, scale: str, dataset: str) -> tuple[Experiment, Scale, pd.DataFrame]:
    """A table's lines in the store, of today's settings; of the first scale and data set that are there, if unnamed.

    Raises `UserError` where there are none.
    """
    experiment = tables.get(table)
    frame = store.frame()
    frame = frame[frame["table"] == experiment.name]
    if scale or dataset:
        name = scale or "mini"
        known = get_scale(name, dataset or dataset_of(name, experiment.benchmark))
    elif not frame.empty:
        known = get_scale(str(frame.iloc[0]["scale"]), str(frame.iloc[0]["dataset"]))
    else:
        known = get_scale("mini", dataset_of("mini", experiment.benchmark))
    frame = frame[(frame["scale"] == known.name) & (frame["dataset"] == known.dataset)]
    if frame.empty:
        raise UserError(
            f"the store holds nothing of {experiment.name} at scale {known.name} on {known.dataset}:"
            f" `{filled_by(experiment, known)}` fills it."
        )
    return experiment, known, of_today(frame, experiment, known)[0]


def stored_row(frame: pd.DataFrame, table: str, row: str) -> str:
    """The name of a row of these lines. Raises `UserError` for any other."""
    names = list(dict.fromkeys(frame["row"]))
    if row not in names:
        raise unknown(f"row of {table} in the store", row, names)
    return row
