"""The files that a run leaves, with their sizes and sums: `artifacts.json` in its folder (no torch here).

It is written last and whole, and tells which weights belong to the run; where there is none, an older version trained
it, and nothing can be compared.
"""

import json
from collections.abc import Iterable
from dataclasses import asdict
from pathlib import Path
from typing import Any

from sakbench import whole
from sakbench.store.records import Artifact

NAME, WEIGHTS = "artifacts.json", "model.safetensors"
MAPS = "maps.safetensors"  # of a run of pairs, which has no weights
SUMS = "images.safetensors"  # what the tasks' metrics are made of, image by image


def write(folder: Path, names: Iterable[str]) -> list[dict[str, Any]]:
    """Write down what the named files in a run's folder are, and return it: an `Artifact`'s values for each.

    Raises `OSError` if that cannot be done.
    """
    found = [
        asdict(Artifact(f"{folder.name}/{name}", (folder / name).stat().st_size, whole.sha256(folder / name)))
        for name in sorted(names)
    ]
    whole.write_text(folder / NAME, json.dumps(found, indent=1) + "\n")
    return found


def problems(folder: Path, *names: str) -> dict[Path, str]:
    """Which files in a run's folder are not what `artifacts.json` says, with a sentence for each.

    Those of some `names`, or all, are read whole. Empty where there is no `artifacts.json`; one that is damaged is the
    problem itself.
    """
    sums = folder / NAME
    if not sums.exists():
        return {}
    try:
        listed = [Artifact(**one) for one in json.loads(sums.read_text(encoding="utf-8"))]
        found = {folder.parent / one.path: one for one in listed}
        states = {file: one.state(file) for file, one in found.items() if not names or file.name in names}
    except (OSError, ValueError, TypeError) as error:
        return {sums: f"{sums} cannot be read ({error})."}
    if not {folder / WEIGHTS, folder / MAPS, folder / SUMS} & found.keys():
        return {sums: f"{sums} lists none of {WEIGHTS}, {MAPS} and {SUMS}."}
    sentences = {"missing": "is missing.", "altered": "has changed since the run left it."}
    return {file: f"{file} {sentences[state]}" for file, state in states.items() if state != "whole"}


def drafts(runs: Path) -> list[Path]:
    """What processes of this machine left half-written, when they were killed, in a folder of runs."""
    folders = sorted(folder for folder in runs.glob("*/") if folder.is_dir())
    return [
        draft
        for folder in folders
        for place in (folder, *training_folders(folder))
        for draft in whole.left_behind(place)
    ]


def training_folders(folder: Path) -> list[Path]:
    """Where a run's folder may hold checkpoints: its training, or each of its training's phases."""
    training = folder / "training"
    phases = [place for place in training.glob("*/") if place.is_dir() and not place.name.startswith(("step-", "."))]
    return [training, *sorted(phases)]
