"""The results database, its exports, and the published numbers."""

from pathlib import Path
from typing import TYPE_CHECKING

from sakbench.store.location import Location
from sakbench.store.records import Artifact, Measurement, RowRecord, RunRecord

if TYPE_CHECKING:
    from sakbench.store.database import Store

__all__ = ["Artifact", "Location", "Measurement", "RowRecord", "RunRecord", "export_jsonl", "is_there", "open_store"]


def open_store(location: str | Path | Location, *, write: bool) -> "Store":
    """The store at a path or URL: see `sakbench.store.opening.open_store`."""
    from sakbench.store import opening

    return opening.open_store(location, write=write)


def is_there(location: Location) -> bool:
    """Whether there is a store at a place: a file, or a database with tables."""
    if location.kind != "postgresql":
        return location.path.exists()
    from sakbench.store import opening

    return opening.has_tables(location)


def export_jsonl(store: "Store", path: str | Path) -> None:
    """Write a store as JSON lines: see `sakbench.store.jsonl.export_jsonl`."""
    from sakbench.store import jsonl

    jsonl.export_jsonl(store, path)
