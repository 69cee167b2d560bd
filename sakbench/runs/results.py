"""What a run gave, kept beside its checkpoint until it is stored, so that it outlives its command (no torch here)."""

from pathlib import Path
from typing import Any

from sakbench import whole
from sakbench.errors import UserError

_NAME = "result.json"


def write(training: Path, result: dict[str, Any]) -> None:
    """Keep a result in a training's folder. Raises `UserError` if it cannot be written; it can be evaluated again."""
    try:
        training.mkdir(parents=True, exist_ok=True)
        whole.write_text(training / _NAME, whole.sealed(result))
    except OSError as error:
        raise UserError(
            f"the result could not be written to {training} ({error}): make room there, and the same command evaluates"
            " it again."
        ) from error


def read(training: Path, runs: Path) -> dict[str, Any] | None:
    """The result in a training's folder; None if there is none that is whole, or its files are not those in `runs`."""
    try:
        result = whole.unsealed((training / _NAME).read_text(encoding="utf-8"))
        sizes = {one["path"]: one["bytes"] for one in result["artifacts"]}
        weights = result["checkpoint"] is None or (runs / result["checkpoint"]).is_file()
        there = weights and all((runs / p).stat().st_size == sizes[p] for p in sizes)
    except (OSError, ValueError, KeyError):
        return None
    return result if there else None
