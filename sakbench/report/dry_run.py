"""`--dry-run`: the plan of a command, and what it takes, before anything is trained."""

from typing import Any

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from sakbench.experiments.rows import Experiment
from sakbench.report.output import console, print_json
from sakbench.report.running import Request, about_features, outstanding
from sakbench.runs import banks
from sakbench.runs.costs import Cost, cost
from sakbench.runs.jobs import Bank, width
from sakbench.runs.plan import label
from sakbench.runs.scales import Scale
from sakbench.runs.spec import RunSpec

_MACS = ("macs_g", "training_macs_g")
RATE = 25e12  # multiply-adds count as two operations; a third of the fp32 peak of one H100


def print_plan(experiment: Experiment, scale: Scale, wanted: list[RunSpec], request: Request) -> None:
    """Print what a command would do. Nothing of it needs data, weights or a GPU."""
    todo = outstanding(wanted, request)
    features = banks.missing(todo, scale.weights)
    lines = [_line(run, cost(run), request) for run in todo]
    totals = {
        "runs": len(lines),
        "images": sum(line["images"] for line in lines),
        "gpu_hours": sum(line["gpu_hours"] for line in lines) if scale.name == "paper" else None,
        "disk_gb": sum(line["disk_gb"] for line in lines),
        "checkpoint_gb": max((line["checkpoint_gb"] for line in lines), default=0.0),
        "features_gb": sum(map(banks.size_in_bytes, features)) / 1e9,
    }
    if request.as_json:
        print_json(
            {"table": experiment.name, "scale": scale.name, "dataset": scale.dataset, "runs": lines, "totals": totals}
        )
        return
    out = console()
    seeds = "seed 0" if request.seeds == 1 else f"seeds 0 to {request.seeds - 1}"
    about = f"scale {scale.name} · {scale.dataset} · {seeds} · dry run"
    out.print(f"[bold]{escape(experiment.title)}[/bold]  ·  {about}", highlight=False)
    if lines:
        _print(out, scale, lines, totals, features)
    else:
        out.print("nothing to train: every run is in the store already", highlight=False)


def _line(run: RunSpec, taken: Cost, request: Request) -> dict[str, Any]:
    gpus = width(run, request.gpus or 8) if request.gpus != 0 else 0
    return {
        "run": label(run),
        "id": run.id,
        "kind": run.kind,
        "steps": run.recipe.steps if run.trains else 0,
        "batch_size": run.recipe.batch_size,
        "images": run.recipe.steps * run.recipe.batch_size if run.trains else 0,
        "gpus": gpus if run.scale == "paper" else 0,
        "params_m": taken.parameters / 1e6,
        "trained_params_m": taken.trained / 1e6,
        "macs_g": taken.macs / 1e9,
        "training_macs_g": taken.training_macs / 1e9,
        "gpu_hours": 2 * taken.total_macs / RATE / 3600 if run.scale == "paper" else None,
        "disk_gb": taken.disk / 1e9,
        # weights, and AdamW's two averages of what is trained, while it trains
        "checkpoint_gb": (taken.disk + 8 * taken.trained) / 1e9,
    }


def _print(out: Console, scale: Scale, lines: list[dict[str, Any]], totals: Any, features: list[Bank]) -> None:
    table = Table(box=None, pad_edge=False)
    table.add_column("run", overflow="fold")
    headings = ["steps x batch", "images", "params M", "trained M", "GMACs", "training GMACs", "disk GB"]
    headings += ["GPUs", "GPU hours"] * (scale.name == "paper")
    for heading in headings:
        table.add_column(heading, justify="right")
    for line in lines:
        cells = [
            f"{line['steps']} x {line['batch_size']}",
            f"{line['images']:,}",
            f"{line['params_m']:.1f}",
            f"{line['trained_params_m']:.1f}",
            *(f"{line[macs]:.1f}" if scale.name == "paper" else f"{line[macs]:.3f}" for macs in _MACS),
            f"{line['disk_gb']:.2f}",
        ]
        if scale.name == "paper":
            cells += [str(line["gpus"]), f"{line['gpu_hours']:.0f}"]
        table.add_row(escape(line["run"]), *cells)
    out.print(table)
    out.print(
        f"\n{totals['runs']} runs, {totals['images']:,} images, {totals['disk_gb']:.1f} GB of weights,"
        f" {totals['checkpoint_gb']:.1f} GB more for the largest checkpoint while it trains",
        highlight=False,
    )
    if features:
        out.print(about_features(features, scale), highlight=False, soft_wrap=True)
    out.print(
        "GMACs: per image, as this code multiplies them, attention included; in training with teachers.", style="dim"
    )
    if any(line["kind"] == "answer" for line in lines):
        out.print(
            "Of question answering this counts what sees; the projector and the language model, which learn and take"
            " most, are not in it.",
            highlight=False,
            soft_wrap=True,
        )
    if scale.name == "paper":
        out.print(
            f"{totals['gpu_hours']:,.0f} GPU hours if a GPU does {RATE / 1e12:.0f} TFLOP/s throughout: an assumption"
            " (a third of one H100's fp32 peak), not a measurement.",
            highlight=False,
        )
