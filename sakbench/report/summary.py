"""From the store's frame to the lines of a table: means and spreads over seeds, Δm, the published numbers beside."""

from dataclasses import dataclass, field
from math import isnan
from typing import Any

import pandas as pd

from sakbench import backbones
from sakbench.analysis.gain import row_gains
from sakbench.analysis.profile import mean_profiles, row_profiles
from sakbench.data import catalogue
from sakbench.errors import UserError
from sakbench.experiments.rows import Experiment, Row
from sakbench.runs.scales import Scale
from sakbench.runs.scales import get as get_scale
from sakbench.tasks.names import TASKS

FREEZE = " Freeze"  # how the rows of frozen models end
VIT_FREEZE = f"ViT{FREEZE}"  # the bias profile's reference
_OVER_ORACLE = "mean_vs_oracle"  # Table 2's Δm, whose baseline is the oracle
_DISTILLED_ON = catalogue.get("imagenet-1k").title  # the paper's representation similarities are of its images
FACTS = ("teachers", "dataset_images", "input_size", "samples")
PROFILE = {"mean": "bias_mean", "sd": "bias_sd", "ratio": "bias_ratio"}


@dataclass(frozen=True)
class Measure:
    """A number over seeds; `spread` is the sample standard deviation, None with one seed."""

    mean: float
    spread: float | None

    @classmethod
    def of(cls, values: "pd.Series[float]") -> "Measure":
        """Mean and spread of the seeds' values."""
        return cls(float(values.mean()), float(values.std(ddof=1)) if len(values) > 1 else None)


@dataclass(frozen=True)
class Line:
    """One row of a table: measured and published; a row of published numbers alone has no runs."""

    row: str
    seeds: list[int]
    runs: list[str]
    measured: dict[str, Measure]
    delta_m: Measure | None
    published: dict[str, float]
    note: bool = False
    profile: dict[str, Measure] = field(default_factory=dict)  # μ, σ and μ/σ where the row is a frozen model
    facts: dict[str, int] = field(default_factory=dict)  # on what it was distilled, where the table tells


@dataclass(frozen=True)
class Summary:
    """A table, ready to be shown."""

    experiment: Experiment
    scale: Scale
    seeds: list[int]
    higher_is_better: dict[str, bool | None]  # None: neither is better
    metrics: dict[str, str]  # task -> "mIoU %"
    lines: list[Line]
    protocols: dict[str, str]
    other_metrics: dict[str, str] = field(default_factory=dict)  # task -> the paper's metric, where ours is another
    left_out: int = 0  # numbers in the store that come from other settings than today's

    def to_json(self) -> dict[str, Any]:
        """Plain values: `rows` with row, seeds, runs, measured, spread, delta_m and published."""
        return {
            "table": self.experiment.name,
            "scale": self.scale.name,
            "dataset": self.scale.dataset,
            "protocols": self.protocols,
            "published_metrics": self.other_metrics,
            "rows": [_line_json(line) for line in self.lines],
        }


def filled_by(experiment: Experiment, scale: Scale | None) -> str:
    """The command that fills a table at that scale, on its data set."""
    words = ["sakbench", experiment.command]
    if scale and scale.name != "mini":
        words += ["--scale", scale.name]
    if scale and not experiment.benchmark and scale.dataset != get_scale(scale.name).dataset:
        words += ["--dataset", scale.dataset]
    return " ".join(words)


def summarize(
    experiment: Experiment, frame: pd.DataFrame, published: pd.DataFrame, scale: Scale | None = None
) -> Summary:
    """The table of `experiment` from the store's tidy frame and the published one, at a scale, or at the first found.

    Raises `UserError` when the store holds none of its rows.
    """
    frame = frame[frame["table"] == experiment.name]
    if scale is not None:
        frame = frame[(frame["scale"] == scale.name) & (frame["dataset"] == scale.dataset)]
    if frame.empty:
        where = f" at scale {scale.name} on {scale.dataset}" if scale else ""
        raise UserError(
            f"the store holds nothing of {experiment.name}{where}: `{filled_by(experiment, scale)}` fills it."
        )
    if scale is None:
        first = frame.iloc[0]
        scale = get_scale(str(first["scale"]), str(first["dataset"]))
        frame = frame[(frame["scale"] == scale.name) & (frame["dataset"] == scale.dataset)]
    definition = {row.name: row for row in experiment.build(scale, 0)}
    frame, left_out = of_today(frame, experiment, scale)
    directions = frame.groupby("task")["higher_is_better"].first()
    higher = {str(task): None if pd.isna(up) else bool(up) for task, up in directions.items()}
    gains = row_gains(frame).groupby("row")["delta_m"]
    delta_m = {str(row): Measure.of(values) for row, values in gains}
    profiles = _profiles(frame) if experiment.profile else {}
    lines = []
    measured = {str(name): rows for name, rows in frame.sort_values("position").groupby("row", sort=False)}
    shown = [name for name, row in definition.items() if name in measured or not row.runs]
    for name in [*shown, *(name for name in measured if name not in definition)]:
        row = definition.get(name)
        rows = measured.get(name, frame[:0])
        lines.append(
            Line(
                row=name,
                seeds=sorted(int(seed) for seed in rows["seed"].unique()),
                runs=sorted(set(rows["run"])),
                measured={str(task): Measure.of(group["value"]) for task, group in rows.groupby("task")},
                delta_m=delta_m.get(name),
                published=_published(published, row.published, scale) if row and row.published else {},
                note=row.note if row else bool(definition),  # where nothing tells its rows, all are its own
                profile=profiles.get(name, {}),
                facts=_facts(row) if row and experiment.facts else {},
            )
        )
    units = frame.groupby("task")[["metric", "unit"]].first()
    return Summary(
        experiment=experiment,
        scale=scale,
        seeds=sorted(int(s) for s in frame["seed"].unique()),
        higher_is_better=higher,
        metrics={str(task): f"{row.metric} {row.unit}".strip() for task, row in units.iterrows()},
        lines=[line for line in lines if not line.note] + [line for line in lines if line.note],
        left_out=left_out,
        other_metrics=_other_metrics(published, experiment, units["metric"]),
        protocols={str(task): str(how) for task, how in frame.groupby("task")["protocol"].first().items()},
    )


def of_today(frame: pd.DataFrame, experiment: Experiment, scale: Scale) -> tuple[pd.DataFrame, int]:
    """The lines whose runs have today's settings, weights and world, and how many others there were.

    Where none has (an export of another version), all are shown: they belong together; so do a user's own.
    """
    if experiment.own:
        return frame, 0
    seeds = [int(seed) for seed in frame["seed"].unique()]
    rows = [row for seed in seeds for row in experiment.build(scale, seed)]
    today = frame["run"].isin({run.id for row in rows for run in row.runs})
    return (frame[today], int((~today).sum())) if today.any() else (frame, 0)


def _facts(row: Row) -> dict[str, int]:
    """What a row's stage 1 learns from; nothing for a row without."""
    stages = [run.start for run in row.runs if run.start is not None]
    return {
        name: number
        for stage in stages
        for name, number in {
            "teachers": len(stage.teachers),
            "dataset_images": stage.train_images,
            "input_size": stage.size[0] if stage.size else backbones.info(stage.backbone).image_size,
            "samples": stage.recipe.steps * stage.recipe.batch_size,
        }.items()
    }


def _profiles(frame: pd.DataFrame) -> dict[str, dict[str, Measure]]:
    """μ, σ and μ/σ of every frozen row but the ViT's, which they are measured against.

    They are those of the values' means over seeds, the spreads those of the single seeds' profiles.
    """
    frozen = frame[frame["row"].str.endswith(FREEZE)]
    spreads = row_profiles(frozen, VIT_FREEZE).groupby("row")[list(PROFILE.values())].std()
    return {
        str(line["row"]): {
            name: Measure(line[column], None if isnan(spread := spreads.loc[line["row"], column]) else float(spread))
            for name, column in PROFILE.items()
        }
        for line in mean_profiles(frozen, VIT_FREEZE).to_dict("records")
        if line["row"] != VIT_FREEZE
    }


def digits(quantity: str) -> int:
    """How many digits of a task, or of another quantity, are told: metres and cosines are small numbers."""
    if quantity.startswith("depth") or quantity.startswith("rep_sim"):
        return 4
    return 3 if quantity.startswith("change ") else 2


def _published(published: pd.DataFrame, place: tuple[str, str], scale: Scale) -> dict[str, float]:
    """The paper's numbers of a row, a frozen model's bias profile among them; none for another data set's."""
    table, row = place
    of_scale = published["dataset"].fillna("").isin(("", scale.published, *scale.also, _DISTILLED_ON))
    published = published[of_scale]
    rows = published[(published["table"] == table) & (published["row"] == row)]
    if row.endswith(FREEZE):
        model = row.removesuffix(FREEZE)
        rows = pd.concat([rows, published[(published["table"] == "figure1") & (published["row"] == model)]])
    found = dict(zip(rows["task"], rows["value"].astype(float), strict=True))
    if _OVER_ORACLE in found:
        found.setdefault("delta_m", found[_OVER_ORACLE])
    return found


def _other_metrics(published: pd.DataFrame, experiment: Experiment, measured: "pd.Series[str]") -> dict[str, str]:
    """By which metric the paper measured a task, where `measured` (task -> metric) says that we take another."""
    rows = published[published["table"] == experiment.name]
    metrics = {str(task): str(metric) for task, metric in rows.groupby("task")["metric"].first().items()}
    ours = {str(task): metric for task, metric in measured.items() if task in TASKS}
    return {task: metrics[task] for task, metric in ours.items() if metrics.get(task, metric) != metric}


def _line_json(line: Line) -> dict[str, Any]:
    return {
        "row": line.row,
        "note": line.note,
        "seeds": line.seeds,
        "runs": line.runs,
        "measured": {task: measure.mean for task, measure in line.measured.items()},
        "spread": {task: measure.spread for task, measure in line.measured.items()},
        "delta_m": line.delta_m.mean if line.delta_m else None,
        "delta_m_spread": line.delta_m.spread if line.delta_m else None,
        "bias_profile": {name: measure.mean for name, measure in line.profile.items()},
        "facts": line.facts,
        "published": line.published,
    }
