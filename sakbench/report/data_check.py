"""What `sakbench data check` prints: which real data sets a folder holds, whether they are whole, what to get."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path

from rich import box
from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table

from sakbench.data import catalogue
from sakbench.data.archives import check as checking
from sakbench.report.output import console, print_json
from sakbench.runs.devices import cores

NOT_WHOLE = 2


def check(folder: Path, *, as_json: bool) -> int:
    """Check the data sets in a folder and print what was found; 0 if all of them are whole, else 2.

    A folder without any data set is not whole. Raises UserError if it is no folder.
    """
    out = console(stderr=as_json)
    with _bar(out) as progress:
        reports = checking.check(folder, workers=cores(), progress=progress)
    found = {report.dataset for report in reports}
    alone = any(Path(report.folder) == folder for report in reports)  # then nothing else is to be expected in it
    absent = [dataset for name, dataset in catalogue.CATALOGUE.items() if name not in found and not alone]
    whole = bool(reports) and all(report.whole for report in reports)
    if as_json:
        print_json(
            {
                "folder": str(folder),
                "whole": whole,
                "found": [{"whole": report.whole, **asdict(report)} for report in reports],
                "absent": [
                    {"dataset": dataset.name, "get": dataset.source, "unpack_to": str(folder / dataset.folders[0])}
                    for dataset in absent
                ],
            }
        )
    else:
        for report in reports:
            _print(out, report)
        for dataset in absent:
            where = folder / dataset.folders[0]
            out.print(
                f"[dim]{dataset.title} is not here: get {escape(dataset.source)}; it goes to {escape(str(where))}"
            )
    return 0 if whole else NOT_WHOLE


def _print(out: Console, report: checking.Report) -> None:
    about = catalogue.get(report.dataset)
    as_many = all(split.listed == split.expected for split in report.splits)
    readable = "[green]whole" if as_many else "[yellow]readable, but not with the paper's numbers of images"
    verdict = readable if report.whole else "[red]not whole"
    out.print(f"[bold]{about.title}[/bold] in {escape(report.folder)}: {verdict}", highlight=False)
    table = Table(box=box.HORIZONTALS, pad_edge=False)
    table.add_column("split")
    headings = ("listed", "the paper's", "read", *(("images", *about.tasks) if report.splits else ()))
    for heading in headings:
        table.add_column(heading, justify="right")
    for split in report.splits:
        right = [_right(kind, split.checked) for kind in split.kinds.values()]
        table.add_row(split.split, f"{split.listed:,}", f"{split.expected:,}", f"{split.checked:,}", *right)
    out.print(table)
    sizes = [f"{size} ({count})" for size, count in list(report.sizes.items())[:4]]
    more = f" and {len(report.sizes) - 4} others" if len(report.sizes) > 4 else ""
    if sizes:
        out.print(f"image sizes: {', '.join(sizes)}{more}", style="dim", highlight=False)
    for line in report.layout:
        out.print(escape(line), style="dim", highlight=False)
    for problem in report.problems:
        out.print(f"[red]✗[/red] {escape(problem)}", highlight=False)
    for note in report.notes:
        out.print(f"[yellow]![/yellow] {escape(note)}", highlight=False)
    out.print(f"cite {escape(about.citation)}. Licence: {escape(about.licence)}.\n", style="dim", highlight=False)


def _right(kind: checking.Kind, checked: int) -> str:
    return f"{kind.right:,}" if kind.right == checked else f"[red]{kind.right:,}[/red]"


@contextmanager
def _bar(out: Console) -> Iterator[Callable[[int, int], None]]:
    """A progress bar over images on a terminal, nothing elsewhere."""
    columns = (TextColumn("reading images"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=out, transient=True, disable=not out.is_terminal) as progress:
        bar = progress.add_task("", total=None)
        yield lambda done, count: progress.update(bar, completed=done, total=count)
