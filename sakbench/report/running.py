"""`sakbench run`: from what the user asked for to a finished table."""

import os
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from rich.console import Console
from rich.markup import escape

from sakbench.errors import INTERRUPTED, UserError, unknown
from sakbench.experiments import tables
from sakbench.experiments.preparation import (
    of_the_data,
    require_data,
    require_shares,
    require_weights,
    unlike_the_papers,
)
from sakbench.experiments.rows import Experiment
from sakbench.experiments.run import Interruption, missing, only_writer, planned, select
from sakbench.experiments.run import run as run_experiment
from sakbench.report.output import console
from sakbench.report.progress import Display, Rendering
from sakbench.runs import banks, devices
from sakbench.runs.executor import Executor, LocalExecutor
from sakbench.runs.jobs import Bank, Job
from sakbench.runs.place import Place
from sakbench.runs.scales import Scale, with_choices
from sakbench.runs.scales import get as get_scale
from sakbench.runs.spec import RunSpec
from sakbench.store import open_store
from sakbench.training import kept

_MOST_READERS = 16  # each holds a few batches


@dataclass(frozen=True)
class Request:
    """How an experiment is to be run: on which data and devices, into which store.

    `again` is the command that goes on after an interruption. `gpus`, `jobs` and `images` (at once on each device) are
    chosen for the machine and the scale where they are None or 0.
    """

    store: Path
    again: str
    seeds: int = 1
    rows: str = ""
    data: Path | None = None
    gpus: int | None = None
    jobs: int | None = None
    images: int = 0
    dry_run: bool = False
    as_json: bool = False


def scale_of(
    name: str,
    dataset: str = "",
    *,
    weights: Mapping[str, Path] | None = None,
    data: Path | None = None,
    **chosen: str,
) -> Scale:
    """The scale that a user asks for, with what else was chosen (see `scales.CHOICES`).

    With `data`, its numbers of images are those that are really there. Raises `UserError` for a word that is none of
    the allowed ones, and for data that are not there.
    """
    if name == "mini" and data is not None:
        raise UserError("scale mini renders its own images: leave --data out, or add --scale paper.")
    scale = replace(with_choices(get_scale(name, dataset), **chosen), weights=dict(weights or {}))
    if scale.nyud_truth != "seism" and scale.dataset != "nyud-v2":
        raise UserError(f"--nyud-truth is for NYUD-v2's boundaries, and the data set is {scale.dataset}.")
    return scale if data is None else of_the_data(scale, data)


def run(name: str, scale: Scale, request: Request, *, protocol: str = "") -> int:
    """Run one of the paper's experiments, by name, and print its table; returns the exit code."""
    return run_and_print(tables.get(name, protocol), scale, request)


def run_and_print(experiment: Experiment, scale: Scale, request: Request) -> int:
    """Run an experiment with seeds 0 to `request.seeds` - 1 and print its table; returns the exit code."""
    wanted = select(experiment, scale, range(request.seeds), request.rows)
    _require_use(scale, wanted)
    if request.dry_run:
        from sakbench.report.dry_run import print_plan  # here, because it imports torch

        print_plan(experiment, scale, wanted, request)
        return 0
    if scale.name == "paper" and request.data is None:
        raise UserError(
            "scale paper reads real photographs: name the folder that holds them with --data DIR (`sakbench data check"
            " DIR` tells what is missing there), or look at the plan with --dry-run."
        )
    lineages = [spec for run in wanted for spec in run.lineage]
    if request.data is not None:
        require_data(lineages, request.data)
    if devices.launched():
        require_shares(lineages, scale, devices.launched())
    chosen = devices.choose(scale.name, request.gpus, request.jobs)
    folder = request.store.parent / "runs"
    workers = _workers(scale, chosen)
    place = Place(folder, request.data, scale.weights, request.images, workers, on_cpu=chosen[0] == "cpu")
    if devices.launched() and os.environ["RANK"] != "0":
        from sakbench.runs.launched import follow  # here, because it imports torch

        follow(place)
        return 0
    features = banks.missing(outstanding(wanted, request), scale.weights)
    banks.require_room(features)
    # With --json, standard output belongs to the JSON alone.
    out = console(stderr=request.as_json)
    store = open_store(request.store, write=True)
    with only_writer(folder):
        store.abandon_running("its process ended without a word")
        count = devices.launched() or len(chosen)
        todo = planned(wanted, store, folder, count)
        for warning in unlike_the_papers(scale):
            out.print(f"[bold]![/bold] {warning}", highlight=False)
        require_weights([job.work for job in todo if isinstance(job.work, RunSpec)], scale, out.print)
        _announce(
            out,
            experiment.title,
            scale,
            request.seeds,
            todo,
            0 if place.on_cpu else devices.launched() or len(set(chosen)),
            features,
        )
        try:
            run_experiment(
                todo,
                experiment,
                scale,
                range(request.seeds),
                store,
                folder,
                _executor(chosen, place),
                watch=lambda work: Display(out, experiment.name, work),
                rendering=Rendering(out),
            )
        except Interruption:
            again = f"`{escape(request.again)}` goes on from there."
            out.print(f"\nstopped; finished runs and checkpoints are kept. {again}", soft_wrap=True)
            return INTERRUPTED
    from sakbench.report.frames import show_table  # here, because it imports pandas

    show_table(out, experiment, store, scale, as_json=request.as_json)
    if request.as_json:
        return 0
    out.print(
        f"stored in {escape(str(request.store))} · again with --seeds 3 · `sakbench show {experiment.name}` reads it",
        style="dim",
    )
    return 0


def outstanding(wanted: list[RunSpec], request: Request) -> list[RunSpec]:
    """The runs still to do, by a store that is only looked at."""
    store = open_store(request.store, write=False) if request.store.exists() else None
    return missing(wanted, store, request.store.parent / "runs")


def about_features(features: list[Bank], scale: Scale) -> str:
    """What features that are still to be computed will take of the disk, and where."""
    models = {bank.backbone for bank in features}
    kind = "teacher" if models <= set(scale.teachers.values()) else "backbone"
    size = banks.megabytes(sum(map(banks.size_in_bytes, features)))
    return (
        f"features of {_counted(len(models), f'frozen {kind}')}: {size} in {escape(str(kept.place()))} (SAKBENCH_CACHE)"
    )


def _executor(chosen: list[str], place: Place) -> Executor:
    """Of processes that are started for every job, or of those that a launcher has started."""
    if not devices.launched():
        return LocalExecutor(chosen, place)
    from sakbench.runs.launched import LaunchedExecutor  # here, because it imports torch

    return LaunchedExecutor(place)


def _require_use(scale: Scale, wanted: list[RunSpec]) -> None:
    """Raise `UserError` for a file of weights that no run reads."""
    used = {name for run in wanted for spec in run.lineage for name in spec.backbones}
    for name in scale.weights:
        if name not in used:
            raise unknown("backbone that these runs use", name, used)


def _workers(scale: Scale, chosen: list[str]) -> int:
    """How many processes read photographs for each GPU; mini's images are in memory, and a CPU reads them itself."""
    if scale.name == "mini" or chosen[0] == "cpu":
        return 0
    return min(_MOST_READERS, max(1, devices.cores() // len(chosen) - 1))


def _counted(number: int, thing: str) -> str:
    return f"{number} {thing}" + "s" * (number != 1)


def _announce(
    out: Console, title: str, scale: Scale, seeds: int, todo: list[Job], gpus: int, features: list[Bank]
) -> None:
    runs = [job.work for job in todo if isinstance(job.work, RunSpec)]
    shared = sum(run.kind == "distill" for run in runs)
    names = "seed 0" if seeds == 1 else f"seeds 0 to {seeds - 1}"
    out.print(f"[bold]{title}[/bold]  ·  scale {scale.name} · {scale.dataset} · {names}", highlight=False)
    if runs:
        work = f"{_counted(len(runs), 'run')} to train" + (f", {shared} of them stage 1" if shared else "")
        where = f", on {_counted(gpus, 'GPU')}" if gpus else ""
        out.print(f"{work}{where}; what is finished is kept if you stop (Ctrl-C)", highlight=False)
        if features:
            out.print(about_features(features, scale), highlight=False, soft_wrap=True)
        out.print()
    else:
        out.print("every run is in the store already\n")
