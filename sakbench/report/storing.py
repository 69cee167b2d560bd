"""`sakbench store export | import | upgrade`: what goes out of a store and into it."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from sakbench.report.output import console, print_json
from sakbench.store import export_jsonl, open_store
from sakbench.store.location import locate

if TYPE_CHECKING:
    from sakbench.store.database import Difference

_LISTED = 10  # runs with other numbers


def export_store(location: str | Path, output: Path) -> None:
    """Write everything complete in a store as JSON lines."""
    store = open_store(location, write=False)
    export_jsonl(store, output)
    records, rows = store.complete()
    console(stderr=True).print(f"{len(records)} runs and {len(rows)} rows in {escape(str(output))}", highlight=False)


def import_into(location: str | Path, files: Sequence[str], *, as_json: bool) -> None:
    """Take the results of other stores or exports into a store; what it has already stays as it is.

    Raises `UserError`, before anything is taken, for a file that is no export or store.
    """
    sources = [open_store(file, write=False) for file in files]
    store = open_store(location, write=True)
    came = []
    for source in sources:
        merged = store.merge(*source.complete())
        came.append(
            {
                "file": str(source.location),
                "runs": {"new": merged.added, "same": merged.same, "different": asdict(merged)["different"]},
                "rows": {"new": merged.rows_added, "kept": merged.rows_kept},
            }
        )
        if as_json:
            continue
        out = console()
        new = f"{len(merged.added)} new run{'s' * (len(merged.added) != 1)}"
        words = [new, f"{len(merged.same)} here already", f"{merged.rows_added} new rows"]
        out.print(f"{escape(str(source.location))}: {', '.join(words)}", highlight=False, soft_wrap=True)
        if merged.different:
            _print_differences(out, merged.different)
    if as_json:
        print_json(came)


def _print_differences(out: Console, different: "Mapping[str, Sequence[Difference]]") -> None:
    out.print("[bold]![/bold] these are here with other numbers, which stay:", highlight=False)
    table = Table(box=None)
    for heading in ("run", "quantity", "protocol"):
        table.add_column(heading)
    for heading in ("here", "there"):
        table.add_column(heading, justify="right")
    for run, numbers in list(different.items())[:_LISTED]:
        for number in numbers:
            values = ("none" if value is None else f"{value:.6g}" for value in (number.here, number.there))
            table.add_row(*map(escape, (run, number.task, number.protocol, *values)))
    out.print(table, highlight=False)
    if len(different) > _LISTED:
        out.print(f"and {len(different) - _LISTED} more runs (--json lists all)", highlight=False)


def upgrade(location: str | Path) -> None:
    """Bring a store that an older version wrote up to date."""
    from sakbench.store.opening import upgrade_store

    before, after = upgrade_store(locate(location))
    said = "is up to date" if before == after else f"was of version {before} and is of version {after} now"
    console().print(f"{escape(str(locate(location)))} {said}", highlight=False, soft_wrap=True)
