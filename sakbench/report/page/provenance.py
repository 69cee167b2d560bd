"""Where each number on the page comes from: the numbers that it is computed from, and their runs."""

import json
from collections.abc import Iterable
from typing import Any

import pandas as pd

from sakbench.errors import UserError
from sakbench.report.commands import repeating
from sakbench.runs.spec import RunSpec
from sakbench.store.database import Store
from sakbench.store.records import Event, RunRecord

GAIN = (
    "The mean over the tasks of the relative gain over the baseline, in percent (Eq. 7), each task of the baseline "
    "averaged over its seeds; computed from these numbers, of which the baseline's are the last:"
)
PROFILE = (
    "The relative improvement over the frozen ViT for each task, in percent; μ and σ are its mean and population "
    "standard deviation over the tasks. Computed from these numbers:"
)

SIZE = (
    "Parameters and multiplications of an image (the paper's convention), counted from the model that its spec "
    "describes, heads included; of all models of the row together. The row's numbers:"
)


class Numbers:
    """The numbers of the page, which refer to each other and are referred to by their index in `entries`."""

    def __init__(self) -> None:
        self.entries: list[dict[str, Any]] = []
        self._rows: dict[tuple[int, ...], dict[str, int]] = {}  # by the lines' index in the frame
        self._computed: dict[tuple[str, str], int] = {}

    def measured(self, lines: pd.DataFrame) -> dict[str, int]:
        """The number of each task, from the frame's lines of one row."""
        key = tuple(lines.index)
        if key not in self._rows:
            parts = lines.groupby("task", sort=False)
            self._rows[key] = {str(task): self._add(_of_seeds(part)) for task, part in parts}
        return self._rows[key]

    def computed(self, title: str, how: str, of: Iterable[int]) -> int:
        """A number that is computed from others; title and `how` tell it from the rest."""
        if (title, how) not in self._computed:
            self._computed[title, how] = self._add({"title": title, "how": how, "of": list(of)})
        return self._computed[title, how]

    def _add(self, entry: dict[str, Any]) -> int:
        self.entries.append(entry)
        return len(self.entries) - 1


def _of_seeds(lines: pd.DataFrame) -> dict[str, Any]:
    """The number of one task in one row, from its values for each seed."""
    first = lines.iloc[0]
    seeds = lines.sort_values("seed")[["seed", "value", "run"]].itertuples(index=False)
    return {
        "title": f"{first['row']} · {first['task']}",
        "place": f"{first['table']} · scale {first['scale']} · {first['dataset']}",
        "metric": f"{first['metric']} {first['unit']}".strip(),
        "protocol": "; ".join(sorted(set(lines["protocol"]))),
        "seeds": [[int(seed), float(value), str(run)] for seed, value, run in seeds],
    }


def facts(record: RunRecord, store: Store) -> list[list[str]]:
    """What is known of how a run came about, as pairs of a name and a text."""
    history = store.history(record.id)
    found = {
        "run": f"{record.id} · {record.label} · seed {record.seed}",
        "place": f"scale {record.scale} · {record.dataset}",
        "command": _commands(history) or "not kept (an export has no history)",
        "again": repeating(record, str(store.location)),
        "begins with": _before(record),
        "time": f"{record.started} to {record.finished}, {record.duration_s:.0f} s of work",
        "machine": ", ".join(f"{name} {value}" for name, value in record.machine.items()),
        "GPU": record.gpu or "",
        "peak memory": f"{record.peak_memory_mb:.0f} MB" if record.peak_memory_mb else "",
        "git commit": record.git_commit or "not known",
        "packages": ", ".join(f"{name} {version}" for name, version in record.versions.items()),
        "files, SHA-256": "\n".join(f"{one.path}  {one.sha256}" for one in record.artifacts) or "not recorded",
        "notes": "\n".join(
            f"{name}: {note}" for name, note in record.notes.items() if isinstance(note, str | int | float)
        ),
        "history": "\n".join(f"{event.at}  {event.kind}  {event.by}" for event in history),
        "spec": json.dumps(record.spec, ensure_ascii=False, indent=1),
    }
    return [[name, text] for name, text in found.items() if text]


def _commands(history: Iterable[Event]) -> str:
    return "\n".join(dict.fromkeys(str(event.detail["command"]) for event in history if event.detail.get("command")))


def _before(record: RunRecord) -> str:
    """The run whose weights it begins with."""
    if not record.spec.get("start"):
        return ""
    try:
        return RunSpec.from_dict(record.spec["start"]).id
    except UserError:  # a spec of another version
        return "see start in its spec"
