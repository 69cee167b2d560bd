"""The results database, its exports, and the published numbers."""

from pathlib import Path
from typing import TYPE_CHECKING

from sakbench.store.records import Measurement, RowRecord, RunRecord

if TYPE_CHECKING:
    from sakbench.store.database import Store

__all__ = ["Measurement", "RowRecord", "RunRecord", "export_jsonl", "open_store"]


def open_store(location: str | Path, *, write: bool) -> "Store":
    """The store at a path: see `sakbench.store.database.open_store`."""
    from sakbench.store import database

    return database.open_store(location, write=write)


def export_jsonl(store: "Store", path: str | Path) -> None:
    """Write a store as JSON lines: see `sakbench.store.jsonl.export_jsonl`."""
    from sakbench.store import jsonl

    jsonl.export_jsonl(store, path)
