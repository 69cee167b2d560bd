"""The bias profile: what a backbone is good and bad at, next to the ImageNet ViT (paper Section 2.1, Figure 1 left)."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import pandas as pd

from sakbench.analysis.gain import relative_improvement


@dataclass(frozen=True)
class BiasProfile:
    """Relative improvements over the ViT in percent; their mean μ and population standard deviation σ over tasks."""

    improvement: dict[str, float]
    mean: float
    sd: float

    @property
    def ratio(self) -> float:
        """μ/σ, which is high for improvements that are large and even; NaN where σ is 0 (the ViT itself)."""
        return self.mean / self.sd if self.sd > 0 else float("nan")


def bias_profile(
    values: Mapping[str, float], vit: Mapping[str, float], higher_is_better: Mapping[str, bool]
) -> BiasProfile:
    """The profile of a frozen backbone with probe results `values`, where the frozen ViT has `vit`.

    Raises `ValueError` if there is no task, or the ViT lacks one.
    """
    if not values:
        raise ValueError("a bias profile needs at least one task.")
    improvement = relative_improvement(values, vit, higher_is_better)
    over_tasks = np.array(list(improvement.values()))
    return BiasProfile(improvement, mean=float(over_tasks.mean()), sd=float(over_tasks.std()))


def mean_profiles(frame: pd.DataFrame, vit: str = "ViT Freeze") -> pd.DataFrame:
    """As `row_profiles`, of each row's values averaged over its seeds: the noise of a seed does not count as bias."""
    key = ["table", "row", "scale", "dataset", "task"]
    means = frame.groupby(key, sort=False, as_index=False).agg({"value": "mean", "higher_is_better": "first"})
    return row_profiles(means.assign(seed=-1), vit).drop(columns="seed")


def row_profiles(frame: pd.DataFrame, vit: str = "ViT Freeze") -> pd.DataFrame:
    """The bias profile of every row and seed of `frame`, frozen rows of the store's frame that hold the row `vit`.

    Columns: table, row, scale, dataset, seed, bias_mean (μ), bias_sd (σ), bias_ratio (μ/σ) and one per task with its
    relative improvement in percent. The ViT's values are averaged over its seeds. A row and seed that lacks one of the
    ViT's tasks is left out, and so are tables without the ViT.
    """
    place = ["table", "scale", "dataset"]
    lines = []
    for key, part in frame.groupby(place, sort=False):
        reference = {str(t): float(v) for t, v in part[part["row"] == vit].groupby("task")["value"].mean().items()}
        better = dict(zip(part["task"], part["higher_is_better"], strict=True))
        for (row, seed), numbers in part.groupby(["row", "seed"], sort=False):
            values = dict(zip(numbers["task"], numbers["value"], strict=True))
            if reference and set(reference) <= set(values):
                profile = bias_profile({task: values[task] for task in reference}, reference, better)
                figures = {"bias_mean": profile.mean, "bias_sd": profile.sd, "bias_ratio": profile.ratio}
                lines.append(
                    dict(zip(place, key, strict=True)) | {"row": row, "seed": seed} | figures | profile.improvement
                )
    return pd.DataFrame(lines, columns=None if lines else [*place, "row", "seed", "bias_mean", "bias_sd", "bias_ratio"])
