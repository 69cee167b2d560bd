"""What `sakbench score` prints: the numbers of saved predictions and the protocol that they were counted under."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from rich import box
from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table

from sakbench.errors import UserError
from sakbench.metrics import boundary as metric
from sakbench.plots.figures import precision_recall
from sakbench.report.commands import console, print_json
from sakbench.runs.executor import default_processes
from sakbench.scoring import boundary, dense
from sakbench.tasks import info, protocols


def score_boundary(
    predictions: Path,
    truth: Path,
    settings: boundary.Settings,
    protocol: str,
    *,
    jobs: int | None,
    plot: Path | None,
    as_json: bool,
) -> None:
    """Score a folder of boundary maps and print ODS, OIS and AP; `plot` gets the precision-recall curve."""
    chosen = protocols.get(protocol)
    settings = replace(settings, nms_radius=chosen.nms_radius, strict=chosen.strict)
    out = console(stderr=as_json)
    with _bar(out, "boundary") as progress:
        found, counts, alone = boundary.score(
            predictions, truth, settings, workers=jobs or default_processes(), progress=progress
        )
    summary = metric.summarize(counts)
    if plot:
        _save(plot, counts, summary)
    if as_json:
        numbers = {name: getattr(summary, name) for name in summary._fields}
        print_json({**numbers, "images": len(found), "protocol": str(settings)})
        return
    table = Table(box=box.HORIZONTALS, pad_edge=False)
    for heading in ("images", "odsF %", "at threshold", "precision %", "recall %", "OIS %", "AP %"):
        table.add_column(heading, justify="right")
    percent = (f"{100 * value:.2f}" for value in (summary.precision, summary.recall, summary.ois, summary.ap))
    table.add_row(str(len(found)), f"[bold]{100 * summary.ods:.2f}", f"{summary.threshold:.2f}", *percent)
    out.print(table)
    out.print(escape(str(settings)), style="dim", highlight=False)
    _tell_alone(out, alone)
    if plot:
        out.print(f"precision-recall curve in {escape(str(plot))}", style="dim", highlight=False)


def score_dense(
    task: str, predictions: Path, truth: Path, *, classes: int | None, depth_unit: float, as_json: bool
) -> None:
    """Score a folder of another task's predictions and print its metric."""
    out = console(stderr=as_json)
    with _bar(out, task) as progress:
        value, images, alone = dense.score(
            task, predictions, truth, classes=classes, depth_unit=depth_unit, progress=progress
        )
    about = info(task)
    if as_json:
        print_json({"task": task, "metric": about.metric, "value": value, "unit": about.unit, "images": images})
        return
    arrow = "↑" if about.higher_is_better else "↓"
    out.print(f"{task}  {about.metric} [bold]{value:.4f}[/bold] {about.unit} {arrow}  {images} images", highlight=False)
    _tell_alone(out, alone)


@contextmanager
def _bar(out: Console, title: str) -> Iterator[Callable[[int, int], None]]:
    """A progress bar over images on a terminal, nothing elsewhere."""
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=out, transient=True, disable=not out.is_terminal) as progress:
        bar = progress.add_task(title, total=None)
        yield lambda done, count: progress.update(bar, completed=done, total=count)


def _tell_alone(out: Console, alone: int) -> None:
    if alone:
        out.print(f"{alone} predictions have no truth of their name and are left out", style="yellow")


def _save(path: Path, counts: NDArray[np.int64], summary: metric.Summary) -> None:
    precision, recall = metric.precision_recall(counts.sum(axis=0))
    figure = precision_recall(precision, recall, best=(summary.precision, summary.recall))
    try:
        figure.savefig(path)
    except (OSError, ValueError) as error:
        raise UserError(f"the plot {path} cannot be written: {error}.") from error
