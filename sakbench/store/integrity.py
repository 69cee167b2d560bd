"""Whether the files that a store's runs left are what they were."""

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from sakbench import whole
from sakbench.store.database import Store
from sakbench.store.records import Artifact


@dataclass(frozen=True)
class Left:
    """A file that a run left."""

    run: str
    artifact: Artifact


def files(store: Store) -> list[Left]:
    """Every file that the store's complete runs left."""
    records, _ = store.complete()
    return [Left(record.id, artifact) for record in records for artifact in record.artifacts]


def state(artifact: Artifact, path: Path) -> Literal["whole", "missing", "altered"]:
    """Whether a file is the one that a run left, by size and SHA-256; it is read whole."""
    if not path.is_file():
        return "missing"
    same_size = path.stat().st_size == artifact.bytes
    return "whole" if same_size and whole.sha256(path) == artifact.sha256 else "altered"
