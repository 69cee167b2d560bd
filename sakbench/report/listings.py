"""Lists as a person reads them: what there is to run, what is in the store, one run, cards, checks."""

import json
from collections.abc import Sequence
from typing import Any

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from sakbench.store.records import Event, RunRecord


def print_tables(console: Console, experiments: list[dict[str, Any]]) -> None:
    """Print the tables that `sakbench run` knows, with the seeds that are in the store."""
    table = Table(box=None, title="tables", title_justify="left", title_style="bold")
    for heading in ("sakbench run …", "", "seeds in the store"):
        table.add_column(heading)
    for experiment in experiments:
        stored = [
            f"{', '.join(map(str, kept['seeds']))} ({kept['scale']}, {kept['dataset']})"
            for kept in experiment["stored"]
        ]
        only = "" if len(experiment["scales"]) > 1 else f" (scale {experiment['scales'][0]} only)"
        table.add_row(experiment["table"], f"{experiment['title']}{only}", "\n".join(stored) or "none")
    console.print(table)


def print_runs(console: Console, runs: list[dict[str, Any]]) -> None:
    """Print one line per run."""
    if not runs:
        console.print("\nno runs in the store yet", highlight=False)
        return
    table = Table(box=None, title="\nruns", title_justify="left", title_style="bold")
    for heading in ("id", "run", "scale", "seed", "status", "started"):
        table.add_column(heading)
    table.add_column("minutes", justify="right")
    for run in runs:
        minutes = f"{run['duration_s'] / 60:.1f}"
        started = (run["started"] or "")[:16].replace("T", " ")
        cells = (run["id"], run["label"], run["scale"], str(run["seed"]), run["status"], started, minutes)
        table.add_row(*map(escape, cells))
    console.print(table)


def print_record(console: Console, record: RunRecord, history: Sequence[Event], repeat: str) -> None:
    """Print everything about one run: its numbers, how it was trained, where, from what, and what happened to it.

    `repeat` is the command that does it once more.
    """
    console.print(f"[bold]{escape(record.label)}[/bold]  ·  {record.id} · {record.status}", highlight=False)
    numbers = Table(box=None)
    for heading in ("quantity", "metric", "value", "protocol"):
        numbers.add_column(heading, justify="right" if heading == "value" else "left")
    for m in record.metrics:
        numbers.add_row(*map(escape, (m.task, f"{m.metric} {m.unit}".strip(), f"{m.value:.4f}", m.protocol)))
    console.print(numbers)
    facts = Table(box=None, show_header=False)

    def add(name: str, fact: str) -> None:
        facts.add_row(escape(name), escape(fact))

    for name in ("scale", "dataset", "seed", "started", "finished"):
        add(name, str(getattr(record, name)))
    add("duration", f"{record.duration_s:.0f} s")
    add("peak memory", f"{record.peak_memory_mb:.0f} MB" if record.peak_memory_mb else "not known")
    add("git commit", str(record.git_commit))
    add("machine", ", ".join(f"{k} {v}" for k, v in record.machine.items()))
    add("versions", ", ".join(f"{k} {v}" for k, v in record.versions.items()))
    gone = any(event.kind == "files gone" for event in history) and not record.artifacts
    where = "gone (see below)" if gone else f"{record.checkpoint}, in the folder of runs"
    add("weights", where if record.checkpoint else "none")
    for artifact in record.artifacts:
        add("file", f"{artifact.path}  {artifact.bytes:,} bytes  sha256 {artifact.sha256}")
    for name, note in record.notes.items():
        add(name, str(note) if name != "gates" else "with --json (levels, tasks, experts)")
    add("spec", json.dumps(record.spec, ensure_ascii=False))
    for event in history:
        detail = ", ".join(f"{name} {value}" for name, value in event.detail.items())
        add(event.kind, f"{event.at}  {event.by}" + (f"  {detail}" if detail else ""))
    add("repeat", repeat)
    console.print(facts, highlight=False)


def print_cards(console: Console, cards: dict[str, dict[str, Any]]) -> None:
    """Print what each pretrained backbone has learned, against the least that it must."""
    table = Table(box=None)
    for heading in ("backbone", "paradigm", "figures (least allowed)", ""):
        table.add_column(heading, overflow="fold")
    for name, card in cards.items():
        least = {figure: f" (≥ {value:g})" for figure, value in card["gates"].items()}
        figures = ", ".join(f"{figure} {value:.3f}{least.get(figure, '')}" for figure, value in card["figures"].items())
        table.add_row(name, card["paradigm"], figures, "passed" if card["passed"] else "below its gates")
    console.print(table)


def print_checks(console: Console, checks: list[dict[str, Any]]) -> None:
    """Print how many published numbers follow from their own rows, and which do not."""
    wrong = [check for check in checks if not check["agrees"]]
    console.print(
        f"{len(checks)} published Δm and μ, σ, μ/σ recomputed, {len(wrong)} differ from what the printed scores give:",
        highlight=False,
    )
    table = Table(box=None)
    for heading in ("table", "row", "quantity"):
        table.add_column(heading)
    for heading in ("published", "recomputed"):
        table.add_column(heading, justify="right")
    for check in wrong:
        numbers = (f"{check['published']:.2f}", f"{check['recomputed']:.2f}")
        table.add_row(check["table"], check["row"], check["quantity"], *numbers)
    console.print(table)
