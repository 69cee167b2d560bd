"""A store as JSON lines: what the project ships and what travels between machines."""

import json
from dataclasses import asdict
from pathlib import Path
from types import UnionType
from typing import TYPE_CHECKING, Any, Literal, NoReturn, TypeVar, get_args, get_origin, get_type_hints

from sakbench import whole
from sakbench.errors import UserError
from sakbench.store.location import EXPORT
from sakbench.store.records import Artifact, Measurement, RowRecord, RunRecord

if TYPE_CHECKING:
    from sakbench.store.database import Store

Record = TypeVar("Record", RunRecord, RowRecord, Measurement, Artifact)

VERSION = 2
_KNOWN = (1, VERSION)  # the first had no artifacts, and checkpoints relative to the store


def export_jsonl(store: "Store", path: str | Path) -> None:
    """Writes all complete runs, one per line, then the rows that they fill.

    The same content gives the same bytes. The file appears whole or not at all. Raises `UserError` for a file that
    does not end in .jsonl (it might be a store), or that cannot be written.
    """
    target = Path(path)
    if target.suffix != EXPORT:
        raise UserError(f"{target} cannot be an export: name a file that ends in {EXPORT}.")
    records, rows = store.complete()
    lines = [
        {"type": "schema", "version": VERSION},
        *({"type": "run", **asdict(record)} for record in records),
        *({"type": "row", **asdict(row)} for row in rows),
    ]
    text = "".join(json.dumps(line, sort_keys=True, ensure_ascii=False, allow_nan=False) + "\n" for line in lines)
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        whole.write_text(target, text)
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
    version = VERSION
    for number, line in enumerate(lines, start=1):
        try:
            content = json.loads(line, parse_constant=_refuse)
            kind = content.pop("type")
            if (number == 1) != (kind == "schema"):
                raise ValueError("the first line, and no other, tells the schema version")
            if kind == "schema":
                version = _known(content["version"], path)
            elif kind == "run":
                run = _run(content, version)
                runs[run.id] = run
            elif kind == "row":
                rows.append(_row(content, runs))
            else:
                raise ValueError(f"no line is of type {kind!r}")
        except (AttributeError, KeyError, TypeError, ValueError, RecursionError) as error:
            raise UserError(f"line {number} of {path} is not a line of a sakbench export ({error}).") from error
    return list(runs.values()), rows


def _known(version: object, path: Path) -> int:
    if not isinstance(version, int) or version not in _KNOWN:
        raise UserError(
            f"the export {path} has version {version}, this sakbench knows versions up to {VERSION}: read it with the"
            " sakbench that wrote it."
        )
    return version


def _refuse(constant: str) -> NoReturn:
    raise ValueError(f"{constant} is no number")


def _run(content: dict[str, Any], version: int) -> RunRecord:
    if version == 1 and content["checkpoint"] is not None:
        content["checkpoint"] = content["checkpoint"].partition("/")[2]
    metrics = tuple(_checked(Measurement(**values)) for values in content["metrics"])
    artifacts = tuple(_checked(Artifact(**values)) for values in content.get("artifacts", ()))
    return _checked(RunRecord(**{**content, "metrics": metrics, "artifacts": artifacts}))


def _row(content: dict[str, Any], runs: dict[str, RunRecord]) -> RowRecord:
    row = _checked(RowRecord(**content))
    if missing := set(row.runs.values()) - set(runs):
        raise ValueError(f"it names runs that the lines before lack: {', '.join(sorted(missing))}")
    return row


def _checked(record: Record) -> Record:
    """The record, if every value is of its field's type, and one that every database holds."""
    for name, wanted in get_type_hints(type(record)).items():
        value = getattr(record, name)
        too_large = isinstance(value, int) and abs(value) >= 2 ** (63 if name == "bytes" else 31)
        if not _fits(value, wanted) or too_large or (isinstance(value, str) and "\0" in value):
            raise ValueError(f"{name} cannot be {value!r:.60}")
    return record


def _fits(value: object, wanted: Any) -> bool:
    """Whether a value is of an annotation's type; what lists and dictionaries hold is not looked at."""
    kind = get_origin(wanted) or wanted
    if kind is Literal:
        return value in get_args(wanted)
    if kind is UnionType:
        return any(_fits(value, one) for one in get_args(wanted))
    if kind in (int, float):
        return isinstance(value, (int, kind)) and not isinstance(value, bool)
    return isinstance(value, kind)
