"""What `sakbench score` prints: the numbers of saved predictions and the protocol that they were counted under."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, replace
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
from sakbench.report.output import console, print_json
from sakbench.runs.devices import cores
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
    if plot and not plot.suffix:
        raise UserError(f"the plot {plot} needs an ending that tells its format, such as {plot}.png.")
    chosen = protocols.get(protocol)
    settings = replace(settings, nms_radius=chosen.nms_radius, strict=chosen.strict)
    out = console(stderr=as_json)
    with _bar(out, "boundary") as progress, _stopping(out):
        found, counts, alone = boundary.score(predictions, truth, settings, workers=jobs or cores(), progress=progress)
    summary = metric.summarize(counts)
    if as_json:
        about = {"images": len(found), "without_truth": alone, "settings": asdict(settings), "protocol": str(settings)}
        print_json({**summary._asdict(), **about})
    else:
        table = Table(box=box.HORIZONTALS, pad_edge=False)
        for heading in ("images", "odsF %", "at threshold", "precision %", "recall %", "OIS %", "AP %"):
            table.add_column(heading, justify="right")
        percent = (f"{100 * value:.2f}" for value in (summary.precision, summary.recall, summary.ois, summary.ap))
        table.add_row(str(len(found)), f"[bold]{100 * summary.ods:.2f}", f"{summary.threshold:.2f}", *percent)
        out.print(table)
        out.print(escape(str(settings)), style="dim", highlight=False)
    _tell_alone(out, alone)
    if plot:
        _save(plot, counts, summary)
        out.print(f"precision-recall curve in {escape(str(plot))}", style="dim", highlight=False)


def score_dense(
    task: str,
    predictions: Path,
    truth: Path,
    *,
    classes: int | None,
    saliency_as: str,
    depth_unit: float,
    as_json: bool,
) -> None:
    """Score a folder of another task's predictions and print its metric."""
    out = console(stderr=as_json)
    reads = dense.reader(task, saliency_as=saliency_as, depth_unit=depth_unit)
    with _bar(out, task) as progress:
        value, images, alone = dense.score(task, predictions, truth, reads, classes=classes, progress=progress)
    about = info(task)
    if as_json:
        numbers = {"task": task, "metric": about.metric, "value": value, "unit": about.unit}
        print_json({**numbers, "images": images, "without_truth": alone})
    else:
        arrow = "↑" if about.higher_is_better else "↓"
        number = f"{about.metric} [bold]{value:.4f}[/bold] {about.unit} {arrow}"
        out.print(f"{task}  {number}  {images} images", highlight=False)
    _tell_alone(out, alone)


@contextmanager
def _stopping(out: Console) -> Iterator[None]:
    """Say on Ctrl-C what is not lost."""
    try:
        yield
    except KeyboardInterrupt:
        out.print("\nstopped; the images that were scored are kept, and the same command goes on with the others.")
        raise


@contextmanager
def _bar(out: Console, title: str) -> Iterator[Callable[[int, int], None]]:
    """A progress bar over images on a terminal, nothing elsewhere."""
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=out, transient=True, disable=not out.is_terminal) as progress:
        bar = progress.add_task(title, total=None)
        yield lambda done, count: progress.update(bar, completed=done, total=count)


def _tell_alone(out: Console, alone: int) -> None:
    if alone:
        what = "prediction has" if alone == 1 else "predictions have"
        out.print(f"{alone} {what} no truth of that name: left out", style="yellow", highlight=False)


def _save(path: Path, counts: NDArray[np.int64], summary: metric.Summary) -> None:
    from sakbench.plots.figures import precision_recall  # here, because it imports matplotlib

    precision, recall = metric.precision_recall(counts.sum(axis=0))
    figure = precision_recall(precision, recall, best=(summary.precision, summary.recall))
    try:
        figure.savefig(path, format=path.suffix.removeprefix("."))
    except (OSError, ValueError, RuntimeError) as error:
        raise UserError(f"the plot {path} cannot be written: {error}.") from error
