"""Whether the published numbers follow from each other."""

from collections.abc import Iterator
from typing import Any

import pandas as pd

from sakbench.analysis.gain import mtl_gain
from sakbench.analysis.profile import BiasProfile, bias_profile

# Numbers are printed to two decimals; Δm inherits the rounding of the values it is computed from as well.
TOLERANCE = 0.015

TASKS = ("semseg", "parsing", "saliency", "normals", "boundary", "depth")

Check = dict[str, Any]


def verify(published: pd.DataFrame) -> list[Check]:
    """Recomputes every published Δm and the bias profiles (μ, σ, μ/σ) of `published`, the frame of published numbers.

    Each check is {table, row, quantity, published, recomputed, agrees}, `quantity` being `delta_m`, `bias_mean`,
    `bias_sd` or `bias_ratio`. A Δm that is printed without its tasks' values (Table 29) repeats another table's and is
    not checked. Of the paper's 145 rows one does not follow Eq. 7 (Table 16, TFUT), and neither does PRISM's ViT-B row
    on PASCAL-Context among the successors.
    """
    return [*_gains(published), *_profiles(published)]


def _gains(published: pd.DataFrame) -> Iterator[Check]:
    lines = published[["table", "row", "dataset", "backbone", "task", "value"]]
    values: dict[tuple[str, str, str], dict[str, float]] = {}
    baselines: dict[tuple[str, str], dict[str, float]] = {}
    for table, row, dataset, backbone, task, value in lines[lines["task"].isin(TASKS)].itertuples(index=False):
        values.setdefault((table, row, dataset), {})[task] = value
        if row == "Single-task baseline":
            baselines.setdefault((dataset, backbone), {})[task] = value
    better = _directions(published)
    for table, row, dataset, backbone, _, gain in lines[lines["task"] == "delta_m"].itertuples(index=False):
        if (table, row, dataset) in values:
            # Tables 15 and 16 hold Swin-S rows against the ViT-S baseline.
            baseline = baselines[dataset, backbone.replace("Swin-", "ViT-")]
            yield _check(table, row, "delta_m", gain, mtl_gain(values[table, row, dataset], baseline, better))


def _profiles(published: pd.DataFrame) -> Iterator[Check]:
    for row, profile in published_profiles(published).items():
        printed = published[(published["table"] == "figure1") & (published["row"] == row)].set_index("task")["value"]
        for quantity, recomputed in {
            "bias_mean": profile.mean,
            "bias_sd": profile.sd,
            "bias_ratio": profile.ratio,
        }.items():
            yield _check("figure1", row, quantity, printed[quantity], recomputed)


def published_profiles(published: pd.DataFrame) -> dict[str, BiasProfile]:
    """The bias profile of every model of the paper, from Table 12's Freeze rows against the ViT's."""
    frozen = published[(published["table"] == "table12") & (published["group"] == "Freeze")]
    values = {str(model): _values(part) for model, part in frozen.groupby("model", sort=False)}
    vit = values.pop("ViT")
    return {model: bias_profile(numbers, vit, _directions(frozen)) for model, numbers in values.items()}


def _values(part: pd.DataFrame) -> dict[str, float]:
    tasks = part[part["task"].isin(TASKS)]
    return dict(zip(tasks["task"], tasks["value"], strict=True))


def _directions(published: pd.DataFrame) -> dict[str, bool]:
    known = published[published["higher_is_better"].notna()].drop_duplicates("task")
    return {task: bool(better) for task, better in zip(known["task"], known["higher_is_better"], strict=True)}


def _check(table: str, row: str, quantity: str, published: float, recomputed: float) -> Check:
    return {
        "table": table,
        "row": row,
        "quantity": quantity,
        "published": float(published),
        "recomputed": round(recomputed, 4),
        "agrees": bool(abs(recomputed - published) <= TOLERANCE),
    }
