"""One table of all models, measured here and published, never without saying which is which."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd

from sakbench.analysis.gain import row_gains
from sakbench.analysis.profile import bias_profile
from sakbench.analysis.verify import TASKS

# The first of these that holds a model names it: the state of the art, then the study of biases, then successors.
PUBLISHED = ("table5", "table6", "table13", "table14", "table15", "table16", "table12", "successors")
# A run can stand in several tables (SAK is a row of its ablations too); the one with the most seeds names it, then the
# first of these.
MEASURED = ("table7", "table12")
_BASE = ""  # no row of a table has that name
SETTINGS = ("ST Full", "MT Full", "Freeze")

COLUMNS = (
    *("model", "setting", "source", "scale", "dataset", "backbone", "params_m", "macs_g", "seeds", *TASKS),
    *("delta_m", "delta_m_sd", "bias_mean", "bias_sd", "bias_ratio", "protocol", "reference"),
)


def leaderboard(
    measured: pd.DataFrame, published: pd.DataFrame, weights: Mapping[str, tuple[int, int]] | None = None
) -> pd.DataFrame:
    """Every model once per setting, data set and scale, best Δm first within each data set and source.

    `measured` is the store's frame, `published` the frame of published numbers; `weights` gives the parameters and the
    MACs per image (the paper's convention) of a run's model, where they are known. Columns: model, setting
    (fine-tuning, committee or module left out; empty for the usual), source (`measured` or `published`), scale,
    dataset, backbone, params_m (millions) and macs_g (thousands of millions; of all models of a row together, heads
    included), seeds (missing for published numbers), one per task with its mean over seeds, delta_m and its standard
    deviation over seeds, the bias profile's bias_mean (μ), bias_sd (σ) and bias_ratio (μ/σ) for frozen backbones,
    protocol, reference (where the numbers are from). Only numbers of one scale and data set can be compared.
    """
    lines = [*_measured(measured, published, weights or {}), *_published(published)]
    _add_profiles(lines, {**_directions(published), **_directions(measured)})
    board = pd.DataFrame(lines, columns=list(COLUMNS)).astype({"seeds": "Int64"})
    return board.sort_values(
        ["source", "scale", "dataset", "delta_m"], ascending=[True, True, True, False], kind="stable", ignore_index=True
    )


def _measured(
    frame: pd.DataFrame, published: pd.DataFrame, weights: Mapping[str, tuple[int, int]]
) -> list[dict[str, Any]]:
    gains = _gains(frame)
    names = {
        (table, row): (model, group)
        for table, row, model, group in published[["table", "row", "model", "group"]].itertuples(index=False)
    }
    lines: dict[frozenset[str], dict[str, Any]] = {}
    frame = frame[frame["task"].isin(TASKS)]
    kinds = _kinds(frame)
    by_preference = frame.assign(preference=frame["table"].map(_preference))
    seeds = by_preference.groupby(["table", "row", "scale", "dataset"])["seed"].transform("nunique")
    by_preference = by_preference.assign(seeds=-seeds).sort_values(
        ["seeds", "preference", "table", "position"], kind="stable"
    )
    for key, part in by_preference.groupby(["table", "row", "scale", "dataset"], sort=False):
        table, row, scale, dataset = map(str, key)
        if kinds[table, row, scale, dataset] == "mixture":
            continue
        model, setting = names.get((table, row)) or _split(row)
        gain = gains.get((table, row, scale, dataset), pd.Series(dtype=float))
        line = {
            "model": model,
            "setting": setting,
            "source": "measured",
            "scale": scale,
            "dataset": dataset,
            "backbone": "",
            **_weight(part, weights),
            "seeds": part["seed"].nunique(),
            **part.groupby("task")["value"].mean(),
            "delta_m": round(gain.mean(), 9),  # of the baseline 0, not what summing leaves
            "delta_m_sd": gain.std(),
            "protocol": "; ".join(
                sorted({f"{t} {p}" for t, p in zip(part["task"], part["protocol"], strict=True) if p})
            ),
            "reference": f"{table}, {row}",
        }
        runs = set(part["run"])
        if not any(runs <= others for others in lines):  # otherwise it is there already, with as many seeds
            lines[frozenset(runs)] = line
    return list(lines.values())


def _weight(part: pd.DataFrame, weights: Mapping[str, tuple[int, int]]) -> dict[str, float]:
    """Of the models that one seed of a row consists of; nothing where one of them is not known."""
    runs = set(part.loc[part["seed"] == part["seed"].iloc[0], "run"])
    if not runs <= weights.keys():
        return {}
    parameters, macs = (sum(weights[run][which] for run in runs) for which in (0, 1))
    return {"params_m": parameters / 1e6, "macs_g": macs / 1e9}


def baselines(frame: pd.DataFrame) -> dict[tuple[str, str, str], pd.DataFrame]:
    """What Δm is taken against, by table, scale and data set: the frame's lines of the single-task baseline.

    Baselines of several tables that share runs are one, with the seeds of all. A table that has no baseline takes that
    of its scale and data set, if there is only one; a table whose baseline is something else has none.
    """
    kinds = _kinds(frame)
    flagged = frame[frame["baseline"] & frame["task"].isin(TASKS)]
    found: dict[tuple[str, str, str], pd.DataFrame] = {}
    for (scale, dataset), here in frame.groupby(["scale", "dataset"], sort=False):
        pools: list[set[str]] = []
        own: dict[str, set[str]] = {}
        for (table, row), part in flagged[_at(flagged, scale, dataset)].groupby(["table", "row"], sort=False):
            own[str(table)] = set(part["run"]) if kinds[table, row, scale, dataset] == "single-task" else set()
        for runs in filter(None, own.values()):
            met = [pool for pool in pools if pool & runs]
            pools = [pool for pool in pools if not pool & runs] + [runs.union(*met)]
        for table in here["table"].unique():
            fitting = [pool for pool in pools if pool & own[str(table)]] if str(table) in own else pools
            if len(fitting) == 1:
                lines = flagged[_at(flagged, scale, dataset) & flagged["run"].isin(fitting[0])]
                found[str(table), str(scale), str(dataset)] = lines.drop_duplicates(["run", "task"])
    return found


def _at(frame: pd.DataFrame, scale: Any, dataset: Any) -> "pd.Series[bool]":
    return (frame["scale"] == scale) & (frame["dataset"] == dataset)


def _kinds(frame: pd.DataFrame) -> dict[Any, str]:
    """What each (table, row, scale, dataset) is: one model, a model per task, or a mixture: the best of several."""
    tasks = frame[frame["task"].isin(TASKS)]
    per_run = tasks.groupby("run")["task"].nunique()
    found = {}
    for key, part in tasks.groupby(["table", "row", "scale", "dataset"], sort=False):
        runs = part.loc[part["seed"] == part["seed"].iloc[0], "run"].unique()
        alone = (per_run[runs] == 1).all()
        found[key] = "one model" if len(runs) == 1 else "single-task" if alone else "mixture"
    return found


def _preference(table: str) -> tuple[int, int, str]:
    """Which table names a run that several have: MEASURED, the paper's tables by their number, then all others."""
    number = table.removeprefix("table").partition("-")[0]
    place = MEASURED.index(table) if table in MEASURED else len(MEASURED)
    return (place, int(number) if table.startswith("table") and number.isdecimal() else 1000, table)


def _gains(frame: pd.DataFrame) -> dict[Any, "pd.Series[float]"]:
    """Δm over seeds of every (table, row, scale, dataset), against its table's entry in `baselines`."""
    parts = []
    for (table, scale, dataset), base in baselines(frame).items():
        rows = frame[(frame["table"] == table) & _at(frame, scale, dataset)]
        parts += [rows.assign(baseline=False), base.assign(table=table, row=_BASE, baseline=True)]
    if not parts:
        return {}
    groups = row_gains(pd.concat(parts)).groupby(["table", "row", "scale", "dataset"])
    return {key: part["delta_m"] for key, part in groups}


def _published(frame: pd.DataFrame) -> list[dict[str, Any]]:
    lines: dict[tuple[Any, ...], dict[str, Any]] = {}
    for table in PUBLISHED:
        selected = frame[frame["table"] == table]
        for (_, dataset), part in selected.groupby(["row", "dataset"], sort=False):
            numbers = dict(zip(part["task"], part["value"], strict=True))
            values = {task: numbers[task] for task in TASKS if task in numbers}
            first = part.iloc[0]
            line = {
                "model": first["model"],
                "setting": first["group"],
                "source": "published",
                "scale": "paper",
                "dataset": dataset,
                "backbone": first["backbone"],
                "params_m": numbers.get("params_m", np.nan),
                "macs_g": numbers.get("macs_g", np.nan),
                "seeds": pd.NA,
                **values,
                "delta_m": numbers.get("delta_m", np.nan),
                "protocol": "as published: "
                + "; ".join(f"{t} {m}" for t, m in zip(part["task"], part["metric"], strict=True) if t in values),
                "reference": first["source"],
            }
            # Table 12 repeats rows of Table 13 under other names: the same numbers are the same model.
            lines.setdefault((dataset, *values.values()), line)
    return list(lines.values())


def _add_profiles(lines: list[dict[str, Any]], better: dict[str, bool]) -> None:
    frozen = [line for line in lines if line["setting"] == "Freeze"]
    place = ("source", "scale", "dataset")
    vits = {tuple(line[name] for name in place): _values(line) for line in frozen if line["model"] == "ViT"}
    for line in frozen:
        vit = vits.get(tuple(line[name] for name in place), {})
        values = _values(line)
        if line["model"] != "ViT" and values.keys() == vit.keys():
            profile = bias_profile(values, vit, better)
            line |= {"bias_mean": profile.mean, "bias_sd": profile.sd, "bias_ratio": profile.ratio}


def _values(line: dict[str, Any]) -> dict[str, float]:
    return {task: line[task] for task in TASKS if task in line}


def _split(row: str) -> tuple[str, str]:
    """A row's model and setting; rows that the paper lacks are named as its Table 12 names rows."""
    for setting in SETTINGS:
        if row.endswith(f" {setting}"):
            return row.removesuffix(f" {setting}"), setting
    return row, ""


def _directions(frame: pd.DataFrame) -> dict[str, bool]:
    known = frame[frame["higher_is_better"].notna()]
    return dict(zip(known["task"], known["higher_is_better"].astype(bool), strict=True))
