"""MTL gain: how much better a multi-task model is than single-task ones (paper Eq. 7)."""

from collections.abc import Mapping

import pandas as pd


def relative_improvement(
    values: Mapping[str, float], baseline: Mapping[str, float], higher_is_better: Mapping[str, bool]
) -> dict[str, float]:
    """By how many percent `values` are better than `baseline`, task by task; positive is better for every task.

    Raises `ValueError` if a task of `values` has no baseline, or one of zero.
    """
    gains = {}
    for task, value in values.items():
        if task not in baseline:
            raise ValueError(
                f"there is no baseline value for {task}: the baseline has {', '.join(baseline) or 'none'}."
            )
        if baseline[task] == 0:
            raise ValueError(f"the baseline value of {task} is 0: no improvement is relative to it.")
        sign = 1 if higher_is_better[task] else -1
        gains[task] = 100 * sign * (value - baseline[task]) / baseline[task]
    return gains


def mtl_gain(values: Mapping[str, float], baseline: Mapping[str, float], higher_is_better: Mapping[str, bool]) -> float:
    """Δm in percent: the mean relative improvement over the single-task baseline (Eq. 7).

    Raises `ValueError` if the two do not hold the same tasks, or none.
    """
    if not values or set(values) != set(baseline):
        raise ValueError(
            f"Δm needs the same tasks on both sides: the model has {', '.join(values) or 'none'}, "
            f"the baseline {', '.join(baseline) or 'none'}."
        )
    gains = relative_improvement(values, baseline, higher_is_better)
    return sum(gains.values()) / len(gains)


def row_gains(frame: pd.DataFrame) -> pd.DataFrame:
    """Δm of every measured row and seed: columns table, row, scale, dataset, seed, delta_m.

    `frame` is the store's. The baseline of a table, scale and data set is the row marked as `baseline`, each task
    averaged over that row's seeds: so the mean over seeds of Δm is the Δm of the mean values. A row and seed that
    lacks a task of the baseline has no Δm and is left out; quantities that are no task of the baseline do not count.
    """
    place = ["table", "scale", "dataset"]
    lines = []
    for key, part in frame.groupby(place, sort=False):
        base = {
            str(task): float(value) for task, value in part[part["baseline"]].groupby("task")["value"].mean().items()
        }
        better = dict(zip(part["task"], part["higher_is_better"], strict=True))
        for (row, seed), numbers in part[part["task"].isin(base)].groupby(["row", "seed"], sort=False):
            values = dict(zip(numbers["task"], numbers["value"], strict=True))
            if set(values) == set(base):
                gain = mtl_gain(values, base, better)
                lines.append({**dict(zip(place, key, strict=True)), "row": row, "seed": seed, "delta_m": gain})
    return pd.DataFrame(lines, columns=["table", "row", "scale", "dataset", "seed", "delta_m"])
