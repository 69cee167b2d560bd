"""A store as JSON lines: what the project ships and what travels between machines."""

import json
import os
import tempfile
from dataclasses import asdict
from pathlib import Path
from typing import Any

from sqlalchemy.exc import SQLAlchemyError

from sakbench.errors import UserError
from sakbench.store import schema
from sakbench.store.database import HOW_TO_FILL, Store, check_version, in_memory
from sakbench.store.records import Measurement, RunRecord


def export_jsonl(store: Store, path: str | Path) -> None:
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
        with tempfile.NamedTemporaryFile(
            "w", encoding="utf-8", newline="\n", dir=target.parent, prefix=f".{target.name}.", delete=False
        ) as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        Path(file.name).chmod(0o644)
        Path(file.name).replace(target)
    except OSError as error:
        raise UserError(f"{target} cannot be written: {error.strerror}.") from error


def read_jsonl(path: str | Path) -> Store:
    """The store that `export_jsonl` wrote, in memory and for reading only.

    Raises `UserError` for a file that is missing, of another version, or holds a line that is not an export's.
    """
    source = Path(path)
    try:
        lines = source.read_text(encoding="utf-8").splitlines()
    except FileNotFoundError:
        raise UserError(f"there is no store at {source}: {HOW_TO_FILL}.") from None
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"{source} cannot be read as a sakbench export ({error}).") from error
    store = in_memory(str(source))
    for number, line in enumerate(lines or [""], start=1):
        try:
            content = json.loads(line)
            if (number == 1) != (content["type"] == "schema"):
                raise ValueError("the first line, and no other, tells the schema version")
            _take(store, content)
        except (TypeError, ValueError, KeyError, SQLAlchemyError) as error:
            raise UserError(f"line {number} of {source} is not a line of a sakbench export ({error}).") from error
    store.writable = False
    return store


def _take(store: Store, line: dict[str, Any]) -> None:
    match line.pop("type"):
        case "schema":
            check_version(line["version"], store.location)
        case "run":
            measured = tuple(Measurement(**values) for values in line.pop("metrics"))
            store.add(RunRecord(**line, metrics=measured))
        case "row":
            store.record_row(**line)
        case other:
            raise ValueError(f"there are no lines of type {other!r}")
