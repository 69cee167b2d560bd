"""The results database, its exports, and the published numbers."""

from sakbench.store.database import Store, open_store
from sakbench.store.jsonl import export_jsonl
from sakbench.store.records import Measurement, RowRecord, RunRecord

__all__ = ["Measurement", "RowRecord", "RunRecord", "Store", "export_jsonl", "open_store"]
