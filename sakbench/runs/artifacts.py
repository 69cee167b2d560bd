"""The files that a run leaves, with their sizes and sums: `artifacts.json` in its folder (no torch here).

It is written last and whole, and tells which weights belong to the run; where there is none, an older version trained
it, and nothing can be compared.
"""

import json
from collections.abc import Iterable
from pathlib import Path
from typing import TypedDict

from sakbench import whole

NAME, WEIGHTS = "artifacts.json", "model.safetensors"


class Artifact(TypedDict):
    """A file of a run: `path` is relative to the folder of all runs, `sha256` hexadecimal."""

    path: str
    bytes: int
    sha256: str


def write(folder: Path, names: Iterable[str]) -> list[Artifact]:
    """Write down what the named files in a run's folder are. Raises `OSError` if that cannot be done."""
    found: list[Artifact] = [
        {
            "path": f"{folder.name}/{name}",
            "bytes": (folder / name).stat().st_size,
            "sha256": whole.sha256(folder / name),
        }
        for name in sorted(names)
    ]
    whole.write_text(folder / NAME, json.dumps(found, indent=1) + "\n")
    return found


def problems(folder: Path) -> dict[Path, str]:
    """Which files in a run's folder are not what `artifacts.json` says, with a sentence for each; all are read whole.

    Empty where there is no `artifacts.json`; one that is damaged is the problem itself.
    """
    sums = folder / NAME
    if not sums.exists():
        return {}
    try:
        listed: list[Artifact] = json.loads(sums.read_text(encoding="utf-8"))
        found = {folder / Path(one["path"]).name: _problem(folder, one) for one in listed}
    except (OSError, ValueError, KeyError, TypeError) as error:
        return {sums: f"{sums} cannot be read ({error})."}
    if folder / WEIGHTS not in found:
        return {sums: f"{sums} does not list {WEIGHTS}."}
    return {file: told for file, told in found.items() if told}


def drafts(runs: Path) -> list[Path]:
    """What processes of this machine left half-written, when they were killed, in a folder of runs."""
    folders = sorted(folder for folder in runs.glob("*/") if folder.is_dir())
    return [
        draft for folder in folders for place in (folder, folder / "training") for draft in whole.left_behind(place)
    ]


def _problem(folder: Path, listed: Artifact) -> str | None:
    file = folder / Path(listed["path"]).name
    if not file.is_file():
        return f"{file} is missing."
    if (found := file.stat().st_size) != listed["bytes"]:
        return f"{file} has {found} bytes instead of {listed['bytes']}."
    if whole.sha256(file) != listed["sha256"]:
        return f"{file} does not agree with its checksum."
    return None
