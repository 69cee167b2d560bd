"""Tables as a person reads them: measured beside published, the best standing out where the seeds bear it."""

from math import hypot
from statistics import fmean

from rich.console import Console
from rich.markup import escape

from sakbench.report.output import framed
from sakbench.report.summary import PROFILE, Measure, Summary, digits
from sakbench.runs.scales import choices

_HEADINGS = {"rep_sim": "Rep Sim"}
_FACTS = {"teachers": "teachers", "dataset_images": "images", "input_size": "side\npx", "samples": "samples\nseen"}
_PROFILE = {"mean": "μ %", "sd": "σ %", "ratio": "μ/σ"}


def print_table(console: Console, summary: Summary) -> None:
    """Print a summary with what one must know to read it: scale, data, seeds, what the notes are."""
    columns = columns_of(summary)
    table = framed(
        escape(summary.experiment.title),
        escape(caption_of(summary)),
        padding=(0, 1, 0, 0) if console.width > 100 else 0,
        pad_edge=False,
    )
    # On a narrow terminal names and numbers wrap: what is cut off could not be read.
    table.add_column("", overflow="fold")
    facts = summary.experiment.facts
    for heading in _FACTS.values() if facts else ():
        table.add_column(heading, justify="right", overflow="fold")
    for task in columns:
        arrow = {True: " ↑", False: " ↓", None: ""}[summary.higher_is_better[task]]
        table.add_column(
            f"{_HEADINGS.get(task, task)}\n{summary.metrics[task]}{arrow}", justify="right", overflow="fold"
        )
    gains = bool(summary.experiment.baseline)
    if gains:
        table.add_column("Δm\n% ↑", justify="right", overflow="fold")
    profiled = any(line.profile for line in summary.lines)
    if profiled:
        for heading in _PROFILE.values():
            table.add_column(f"bias\n{heading}", justify="right", overflow="fold")
    best = {quantity: leaders(summary, quantity) for quantity in (*columns, "delta_m")}
    for index, line in enumerate(summary.lines):
        if line.note and not summary.lines[index - 1].note:
            table.add_section()
        cells = [_cell(line.measured.get(task), line.row in best[task], places=digits(task)) for task in columns]
        cells += [_cell(line.delta_m, line.row in best["delta_m"], signed=True)] * gains
        cells += [_cell(line.profile.get(key), False, signed=key != "sd") for key in _PROFILE if profiled]
        table.add_row(escape(line.row), *[count(line.facts.get(fact)) for fact in _FACTS if facts], *cells)
        if line.published:  # the paper's numbers right below, so that the table stays as narrow as it can
            numbers = [_number(line.published.get(task), places=digits(task)) for task in columns]
            numbers += [_number(line.published.get("delta_m"), signed=True)] * gains
            numbers += [_number(line.published.get(c), signed=k != "sd") for k, c in PROFILE.items() if profiled]
            learned = [count(line.published.get(fact)) for fact in _FACTS if facts]
            table.add_row("  paper", *learned, *numbers, style="dim")
    console.print(table)


def columns_of(summary: Summary) -> list[str]:
    """The tasks that have a column, in their order."""
    order = [*summary.scale.tasks, *summary.experiment.extras]
    return [task for task in order if task in summary.metrics]


def caption_of(summary: Summary) -> str:
    """What one must know to read a table: a line for each matter."""
    scale = summary.scale
    chosen = choices(scale)
    seeds = ", ".join(map(str, summary.seeds))
    noise = "± is the standard deviation over seeds; " if len(summary.seeds) > 1 else ""
    verdict = (
        "bold: the best, and what is not further from it than the seeds' noise (a row below the line does not compete)."
        if len(summary.seeds) > 1
        else "bold: the best of one seed, which says nothing about noise; --seeds 3 does."
    )
    if all(better is None for better in summary.higher_is_better.values()):
        verdict = "none of these numbers is better the more or the less it is."
    return (
        f"scale {scale.name} · data {scale.dataset} · seed{'s' * (len(summary.seeds) > 1)} {seeds}"
        f"{' · ' * bool(chosen)}{chosen}\n"
        f"{scale.about}{_other_metrics(summary)}{_protocol(summary)}\n{noise}{verdict}{_missing(summary)}"
    )


def _other_metrics(summary: Summary) -> str:
    """In which task the paper's numbers are of another metric."""
    ours = {task: summary.metrics[task].split()[0] for task in summary.other_metrics}
    return "".join(
        f"\nthe paper's {task} is {theirs}, ours {ours[task]}." for task, theirs in summary.other_metrics.items()
    )


def _protocol(summary: Summary) -> str:
    """How boundary was measured: its numbers differ with the protocol as with nothing else."""
    return f"\nboundary: {summary.protocols['boundary']}." if summary.protocols.get("boundary") else ""


def _missing(summary: Summary) -> str:
    """What of the table is not there: seeds that some rows lack, numbers of other settings."""
    lines = [f"{line.row} has seeds {', '.join(map(str, line.seeds))} only" for line in summary.lines]
    short = [text for text, line in zip(lines, summary.lines, strict=True) if line.runs and line.seeds != summary.seeds]
    if summary.experiment.baseline and all(line.delta_m is None for line in summary.lines):
        short.append(f"Δm is taken against the row {summary.experiment.baseline}, which is not in the store")
    if summary.left_out:
        short.append(f"{summary.left_out} numbers in the store come from other settings or weights and are left out")
    return "".join(f"\n{text}." for text in short)


def count(number: float | None) -> str:
    """A whole number, in millions or thousands of millions where it is large."""
    if number is None:
        return ""
    for unit, size in (("G", 1e9), ("M", 1e6)):
        if number >= size:
            return f"{number / size:.3g} {unit}"
    return f"{number:,.0f}"


def _cell(measure: Measure | None, best: bool, *, places: int = 2, signed: bool = False) -> str:
    if measure is None:
        return ""
    text = _number(measure.mean, places=places, signed=signed)
    if measure.spread is not None:
        text += f" ±{measure.spread:.{places}f}"
    return f"[bold]{text}[/bold]" if best else text


def _number(value: float | None, *, places: int = 2, signed: bool = False) -> str:
    if value is None:
        return ""
    return f"{value:+z.{places}f}" if signed else f"{value:.{places}f}"  # a baseline gains 0.00, never -0.00


def leaders(summary: Summary, quantity: str) -> set[str]:
    """The rows that stand out in a task or in `delta_m`: the best, and those closer to it than their spreads together.

    Notes do not compete, and where neither more nor less is better nobody leads. A row of one seed has no spread of its
    own and is taken to vary as the others do.
    """
    ranked = [line for line in summary.lines if not line.note]
    found = {line.row: line.delta_m if quantity == "delta_m" else line.measured.get(quantity) for line in ranked}
    measures = {row: measure for row, measure in found.items() if measure is not None}
    if not measures:
        return set()
    better = True if quantity == "delta_m" else summary.higher_is_better[quantity]
    if better is None:
        return set()
    sign = 1.0 if better else -1.0
    top = max(measures, key=lambda row: sign * measures[row].mean)
    usual = fmean([m.spread for m in measures.values() if m.spread is not None] or [0.0])
    noise = {row: usual if m.spread is None else m.spread for row, m in measures.items()}
    return {row for row, m in measures.items() if abs(measures[top].mean - m.mean) <= hypot(noise[top], noise[row])}
