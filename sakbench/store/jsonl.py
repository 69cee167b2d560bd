"""A store as JSON lines: what the project ships and what travels between machines."""

import json
import os
import tempfile
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sakbench.errors import UserError
from sakbench.store import schema
from sakbench.store.records import Measurement, RowRecord, RunRecord

if TYPE_CHECKING:
    from sakbench.store.database import Store


def export_jsonl(store: "Store", path: str | Path) -> None:
    """Writes all complete runs, one per line, then the rows that they fill.

    The same content gives the same bytes. The file appears whole or not at all. Raises `UserError` if it cannot be
    written.
    """
    target = Path(path)
    records, rows = store.complete()
    lines = [
        {"type": "schema", "version": schema.VERSION},
        *({"type": "run", **asdict(record)} for record in records),
        *({"type": "row", **asdict(row)} for row in rows),
    ]
    text = "".join(json.dumps(line, sort_keys=True, ensure_ascii=False, allow_nan=False) + "\n" for line in lines)
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        write_whole(target, text)
    except OSError as error:
        raise UserError(f"{target} cannot be written: {error.strerror}.") from error


def read_jsonl(path: Path) -> tuple[list[RunRecord], list[RowRecord]]:
    """The runs and rows that `export_jsonl` wrote.

    Raises `UserError` for a file that cannot be read, of another version, or with a line that is not an export's.
    """
    try:
        *lines, rest = path.read_text(encoding="utf-8").split("\n")
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"{path} cannot be read as a sakbench export ({error}).") from error
    if rest:
        raise UserError(f"line {len(lines) + 1} of {path} is cut off: copy the export again.")
    if not lines:
        raise UserError(f"{path} is empty: a sakbench export begins with its schema version.")
    runs: dict[str, RunRecord] = {}
    rows: list[RowRecord] = []
    for number, line in enumerate(lines, start=1):
        try:
            content = json.loads(line)
            kind = content.pop("type")
            if (number == 1) != (kind == "schema"):
                raise ValueError("the first line, and no other, tells the schema version")
            if kind == "schema":
                schema.check_version(content["version"], str(path))
            elif kind == "run":
                run = _run(content)
                runs[run.id] = run
            elif kind == "row":
                rows.append(_row(content, runs))
            else:
                raise ValueError(f"no line is of type {kind!r}")
        except (AttributeError, KeyError, TypeError, ValueError) as error:
            raise UserError(f"line {number} of {path} is not a line of a sakbench export ({error}).") from error
    return list(runs.values()), rows


def _run(content: dict[str, Any]) -> RunRecord:
    return RunRecord(**{**content, "metrics": tuple(Measurement(**values) for values in content["metrics"])})


def _row(content: dict[str, Any], runs: dict[str, RunRecord]) -> RowRecord:
    row = RowRecord(**content)
    if missing := set(row.runs.values()) - set(runs):
        raise ValueError(f"it names runs that the lines before lack: {', '.join(sorted(missing))}")
    return row


def write_whole(target: Path, text: str) -> None:
    """Writes a text file so that whoever reads it sees the former content or the new one, whatever happens meanwhile.

    Raises `OSError` if it cannot.
    """
    handle, name = tempfile.mkstemp(dir=target.parent, prefix=f".{target.name}.")
    draft = Path(name)
    try:
        with os.fdopen(handle, "w", encoding="utf-8", newline="\n") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        draft.chmod(0o644)
        draft.replace(target)
    except OSError:
        draft.unlink()
        raise
