"""`sakbench run`: from what the user asked for to a finished table."""

import errno
import os
import signal
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING

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
from sakbench.experiments.run import Interruption, missing, planned, select
from sakbench.experiments.run import run as run_experiment
from sakbench.report.output import console
from sakbench.report.progress import Display, Rendering
from sakbench.runs import banks, devices
from sakbench.runs.crew import assemble
from sakbench.runs.jobs import Bank
from sakbench.runs.place import Place
from sakbench.runs.scales import Scale, with_choices
from sakbench.runs.scales import get as get_scale
from sakbench.runs.spec import RunSpec
from sakbench.store import Location, is_there, open_store
from sakbench.store.location import DEFAULT as DEFAULT_STORE
from sakbench.store.location import locate
from sakbench.training import kept

if TYPE_CHECKING:
    from sakbench.store.database import Store


@dataclass(frozen=True)
class Request:
    """How an experiment is to be run: on which data and devices, into which store.

    `again` is the command that goes on after an interruption, without a password. `runs` is the folder of weights and
    checkpoints, beside the store if None. `seeds` is the experiment's own number if 0; `gpus`, `jobs` and `images` (at
    once on each device) are chosen for the machine and the scale where they are None or 0. `executor` is local or ray,
    `address` that of a Ray cluster. `pairs` is the folder of the counterfactual pairs to look at, if any.
    """

    store: str | Path
    again: str
    runs: Path | None = None
    executor: str = "local"
    address: str = ""
    pairs: Path | None = None
    seeds: int = 0
    rows: str = ""
    data: Path | None = None
    gpus: int | None = None
    jobs: int | None = None
    images: int = 0
    dry_run: bool = False
    as_json: bool = False

    @property
    def location(self) -> Location:
        """Where the store is. Raises `UserError` for what can be none."""
        return locate(self.store)

    @property
    def folder(self) -> Path:
        """The folder of the runs' weights and checkpoints."""
        return self.runs or self.location.runs


def scale_of(
    name: str,
    dataset: str = "",
    *,
    weights: Mapping[str, Path] | None = None,
    data: Path | None = None,
    language: str = "",
    **chosen: str,
) -> Scale:
    """The scale that a user asks for, with another language model than its own, and what else was chosen (see
    `scales.CHOICES`).

    With `data`, its numbers of images are those that are really there. Raises `UserError` for a word that is none of
    the allowed ones, and for data that are not there.
    """
    if name == "mini" and data is not None:
        raise UserError("scale mini renders its own images: leave --data out, or add --scale paper.")
    if name == "mini" and language:
        raise UserError("scale mini has a language model of its own: leave --language out, or add --scale paper.")
    scale = replace(with_choices(get_scale(name, dataset), **chosen), weights=dict(weights or {}))
    if language:
        place = Path(language)
        scale = replace(scale, language=str(place.resolve()) if place.is_dir() else language)
    if scale.nyud_truth != "seism" and scale.dataset != "nyud-v2":
        raise UserError(f"--nyud-truth is for NYUD-v2's boundaries, and the data set is {scale.dataset}.")
    return scale if data is None else of_the_data(scale, data)


def run(experiment: Experiment, scale: Scale, request: Request) -> int:
    """Run an experiment with seeds from 0 and print its table; returns the exit code."""
    if experiment.account:
        from sakbench.report.accounting import account  # here, because it imports torch

        account(as_json=request.as_json, tables=[experiment.name])
        return 0
    request = replace(request, seeds=request.seeds or experiment.usual_seeds(scale))
    if experiment.drawn_by and not experiment.build(scale, 0):  # a figure of what the package holds
        console().print(f"nothing is trained for it: python studies/{experiment.drawn_by}.py draws it", highlight=False)
        return 0
    wanted = select(experiment, scale, range(request.seeds), request.rows)
    _require_use(scale, wanted)
    if request.dry_run:
        from sakbench.report.dry_run import print_plan  # here, because it imports torch

        print_plan(experiment, scale, wanted, request)
        return 0
    try:
        store = carry_out(experiment, scale, request, wanted)
    except Interruption:
        return say_stopped(request)
    if store is None:
        return 0
    from sakbench.report.frames import show_table  # here, because it imports pandas

    out = output_of(request)
    show_table(out, experiment, store, scale, as_json=request.as_json)
    if not request.as_json:
        place = str(request.location)
        which = experiment.file or experiment.name
        reads = f"sakbench show {which}" + (f" --store {place}" if place != DEFAULT_STORE else "")
        varies = any(run.seed for row in experiment.build(scale, 1) for run in row.runs)
        more = "again with --seeds 3 · " if request.seeds < 3 and varies else ""
        told = f"stored in {escape(place)} · {more}`{escape(reads)}` reads it"
        out.print(told, style="dim", highlight=False, soft_wrap=True)
        _say_study(out, experiment, request)
    return 0


def _say_study(out: Console, experiment: Experiment, request: Request) -> None:
    """Which script draws the figure: from the store, and what models see from their weights."""
    if experiment.drawn_by and experiment.name in tables.EXPERIMENTS:  # not of a table under another protocol
        weights = experiment.drawn_by in ("qualitative", "norm_maps")
        source = f"--runs {request.folder}" if weights else f"--store {request.location}"
        command = f"python studies/{experiment.drawn_by}.py {source}"
        out.print(f"drawn by `{escape(command)}`", style="dim", highlight=False, soft_wrap=True)


def carry_out(experiment: Experiment, scale: Scale, request: Request, wanted: list[RunSpec]) -> "Store | None":
    """Do what the store lacks of an experiment's runs, telling what happens; returns the store.

    None in a process that a launcher has started and that is not the first. Raises `UserError`, as early as can be, for
    data, weights, devices or places that are missing, and `Interruption` on Ctrl-C.
    """
    lineages = [spec for run in wanted for spec in run.lineage]
    if scale.name == "paper" and request.data is None and any(spec.kind != "pairs" for spec in lineages):
        raise UserError(
            "scale paper reads real photographs: name the folder that holds them with --data DIR (`sakbench data check"
            " DIR` tells what is missing there), or look at the plan with --dry-run."
        )
    if request.executor == "ray" and request.location.has_password:
        raise UserError(
            "Ray shows a cluster's users the commands that work on it: leave the password out of the URL and give it in"
            " PGPASSWORD or in ~/.pgpass."
        )
    if request.data is not None:
        require_data(lineages, request.data)
    if devices.launched():
        require_shares(lineages, scale, devices.launched())
    crew = assemble(
        scale,
        Place(request.folder, request.data, scale.weights, request.images, pairs=request.pairs),
        executor=request.executor,
        address=request.address,
        gpus=request.gpus,
        jobs=request.jobs,
    )
    if devices.launched() and os.environ["RANK"] != "0":
        from sakbench.runs.launched import follow  # here, because it imports torch

        follow(crew.place)
        return None
    features = banks.missing(outstanding(wanted, request), scale.weights)
    banks.require_room(features)
    _require_folder(request.folder)
    store = open_store(request.location, write=True)
    store.sweep("its process ended without a word")
    todo = planned(wanted, store, request.folder, crew.width)
    runs = [job.work for job in todo if isinstance(job.work, RunSpec)]
    out = output_of(request)
    for warning in unlike_the_papers(scale):
        out.print(f"[bold]![/bold] {warning}", highlight=False)
    require_weights(runs, scale, out.print)
    again = sum(store.find(run.id) is not None for run in runs)
    _announce(out, experiment.title, scale, request.folder, wanted, runs, again, crew.gpus, features)
    with _ended_like_interrupted():
        run_experiment(
            todo,
            experiment,
            scale,
            range(request.seeds),
            store,
            request.folder,
            crew.executor,
            command=request.again,
            watch=lambda work: Display(out, experiment.name, work),
            rendering=Rendering(out),
        )
    return store


def say_stopped(request: Request) -> int:
    """Tell that what is finished is kept, and how to go on; returns the exit code."""
    told = f"stopped; finished runs and checkpoints are kept. `{escape(request.again)}` goes on from there."
    output_of(request).print(f"\n{told}", highlight=False, soft_wrap=True)
    return INTERRUPTED


def output_of(request: Request) -> Console:
    """Where to tell what happens. With --json, standard output belongs to the JSON alone."""
    return console(stderr=request.as_json)


def outstanding(wanted: list[RunSpec], request: Request) -> list[RunSpec]:
    """The runs still to do, by a store that is only looked at."""
    store = open_store(request.location, write=False) if is_there(request.location) else None
    return missing(wanted, store, request.folder)


def about_features(features: list[Bank], scale: Scale) -> str:
    """What features that are still to be computed will take of the disk, and where."""
    models = {bank.backbone for bank in features}
    kind = "teacher" if models <= set(scale.teachers.values()) else "backbone"
    size = banks.megabytes(sum(map(banks.size_in_bytes, features)))
    return (
        f"features of {_counted(len(models), f'frozen {kind}')}: {size} in {escape(str(kept.place()))} (SAKBENCH_CACHE)"
    )


@contextmanager
def _ended_like_interrupted() -> Iterator[None]:
    """Answer SIGTERM, by which schedulers of clusters end a command, as Ctrl-C: checkpoints are kept."""

    def interrupt(number: int, frame: FrameType | None) -> None:
        raise KeyboardInterrupt

    if threading.current_thread() is not threading.main_thread():  # signals are another's to answer
        yield
        return
    before = signal.signal(signal.SIGTERM, interrupt)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def _require_folder(folder: Path) -> None:
    """Make the folder of runs, or raise `UserError` where weights and checkpoints could not be written."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        if not os.access(folder, os.W_OK):
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))
    except OSError as error:
        raise UserError(
            f"the folder {folder} cannot be written to ({error.strerror}), and weights and checkpoints need a place:"
            " name another one with --runs, or a store (--store) in another folder."
        ) from error


def _require_use(scale: Scale, wanted: list[RunSpec]) -> None:
    """Raise `UserError` for a file of weights or a language model that no run reads."""
    used = {name for run in wanted for spec in run.lineage for name in spec.backbones}
    for name in scale.weights:
        if name not in used:
            raise unknown("backbone that these runs use", name, used)
    if scale.language != get_scale(scale.name).language and not any(run.language for run in wanted):
        raise UserError("none of these runs asks a language model: leave --language out.")


def _counted(number: int, thing: str) -> str:
    return f"{number} {thing}" + "s" * (number != 1)


def _announce(
    out: Console,
    title: str,
    scale: Scale,
    folder: Path,
    wanted: list[RunSpec],
    runs: list[RunSpec],
    again: int,
    gpus: int,
    features: list[Bank],
) -> None:
    shared = sum(run.kind == "distill" for run in runs)
    seeds = sorted({run.seed for run in wanted})
    names = f"seed {seeds[0]}" if len(seeds) == 1 else f"seeds {seeds[0]} to {seeds[-1]}"
    out.print(f"[bold]{escape(title)}[/bold]  ·  scale {scale.name} · {scale.dataset} · {names}", highlight=False)
    if not runs:
        out.print("every run is in the store already\n")
        return
    verb = "to train" if any(run.trains for run in runs) else "to do"
    work = f"{_counted(len(runs), 'run')} {verb}" + (f", {shared} of them stage 1" if shared else "")
    where = f", on {_counted(gpus, 'GPU')}" if gpus else ""
    out.print(f"{work}{where}; what is finished is kept if you stop (Ctrl-C)", highlight=False)
    if again:
        out.print(
            f"{_counted(again, 'run')} in the store already, done again for weights that are not in"
            f" {escape(str(folder))}",
            highlight=False,
            soft_wrap=True,
        )
    if features:
        out.print(about_features(features, scale), highlight=False, soft_wrap=True)
    out.print()
