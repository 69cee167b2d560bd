"""The page: a template, filled with what a store holds; its style and script stand in it, and nothing else may run."""

import base64
import hashlib
from importlib.resources import files
from string import Template

import pandas as pd

from sakbench import __version__
from sakbench.analysis.leaderboard import leaderboard
from sakbench.errors import UserError
from sakbench.report.frames import sizes
from sakbench.report.page import board as boards
from sakbench.report.page import pictures, tables
from sakbench.report.page.cells import name_cell, number_head, plain, words_head
from sakbench.report.page.cells import table as sortable
from sakbench.report.page.content import Part, parts
from sakbench.report.page.markup import Markup, join, json_text, tag
from sakbench.report.page.provenance import Numbers, facts
from sakbench.store import published
from sakbench.store.database import Store
from sakbench.store.lines import now
from sakbench.store.records import RunRecord


def build(store: Store) -> str:
    """The page. Raises `UserError` for a store that holds no table, or none that this version knows."""
    stored, papers = store.frame(), published.frame()
    shown, troubles = parts(stored, papers)
    if not shown:
        raise UserError(
            f"{store.location} holds no complete row of a table, so there is nothing to report: `sakbench run table7`"
            f" fills one.{''.join(f' {trouble}' for trouble in troubles)}"
        )
    frame = pd.concat([part.frame for part in shown])
    records = {record.id: record for record in store.complete()[0]}
    numbers = Numbers()
    lines = leaderboard(frame, papers, sizes(store, frame["run"].unique()))
    board = boards.Board(lines, frame, numbers)
    profiles = list(board.profiles())
    colours = boards.colours_of(profiles)
    material = pictures.Material(shown, profiles, records)
    anchors = {part.key: f"table-{number}" for number, part in enumerate(shown)}
    values = {
        "store": tag("code", str(store.location)),
        "facts": _facts(shown, records),
        "about": join(*(tag("p", one) for one in dict.fromkeys([part.summary.scale.about for part in shown]))),
        "troubles": join(*(tag("p", trouble) for trouble in troubles)),
        "contents": tag("ul", *(tag("li", _link(part, anchors[part.key])) for part in shown)),
        "leaderboard": board.html(),
        "models": boards.chooser(colours, profiles),
        "tables": join(*(tables.section(part, anchors[part.key], numbers) for part in shown)),
        "figures": join(*pictures.drawn(material)),
        "runs": _runs(records),
    }
    data = {
        "numbers": numbers.entries,
        "runs": {run: facts(record, store) for run, record in records.items()},
        "profiles": profiles,
        "colours": colours,
    }
    return _filled({**values, "data": json_text(data)})


def _filled(values: dict[str, Markup]) -> str:
    """The template with these values, its style and its script, which it allows by their hashes."""
    folder = files("sakbench.report.page")
    template, style, script = (
        (folder / name).read_text(encoding="utf-8") for name in ("page.html", "style.css", "script.js")
    )
    policy = f"default-src 'none'; style-src {_hash(style)}; script-src {_hash(script)}; base-uri 'none'"
    fixed = {"style": style, "script": script, "policy": f"{policy}; form-action 'none'"}
    return Template(template).substitute(values, **fixed, version=__version__)


def _hash(text: str) -> str:
    return f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'"


def _facts(shown: list[Part], records: dict[str, RunRecord]) -> Markup:
    summaries = [part.summary for part in shown]
    seeds = sorted({seed for summary in summaries for seed in summary.seeds})
    found = {
        "made": f"{now().replace('T', ' ').removesuffix('+00:00')} UTC, sakbench {__version__}",
        "scales": ", ".join(dict.fromkeys(summary.scale.name for summary in summaries)),
        "data sets": ", ".join(dict.fromkeys(summary.scale.dataset for summary in summaries)),
        "tables": str(len(dict.fromkeys(summary.experiment.name for summary in summaries))),
        "runs": f"{len(records)} complete",
        "seeds": ", ".join(map(str, seeds)),
    }
    return join(*(tag("div", tag("dt", name), tag("dd", text)) for name, text in found.items()))


def _link(part: Part, anchor: str) -> Markup:
    return tag("a", part.summary.experiment.title, tag("small", f" {part.place}"), href=f"#{anchor}")


def _runs(records: dict[str, RunRecord]) -> Markup:
    """All complete runs, those that only give weights to others too."""
    heads = [*map(words_head, ("run", "what", "scale", "data set", "git commit", "started"))]
    rows = [
        tag(
            "tr",
            name_cell(tag("button", record.id, type="button", data_run=record.id)),
            *(tag("td", text) for text in (record.label, record.scale, record.dataset, (record.git_commit or "")[:12])),
            tag("td", (record.started or "")[:16].replace("T", " ")),
            plain(record.seed),
            tag("td", f"{record.duration_s / 60:.1f}", class_="number", data_value=record.duration_s),
        )
        for record in sorted(records.values(), key=lambda record: (record.started or "", record.id))
    ]
    return sortable("Runs", [*heads, number_head("seed"), number_head("minutes")], rows)
