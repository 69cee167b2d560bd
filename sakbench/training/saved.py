"""Checkpoints on the disk, as far as they can be read without a model (no torch here)."""

import json
from pathlib import Path
from typing import Any

from sakbench.whole import sha256, unsealed

STATE = "state.json"


def newest(folder: Path) -> Path | None:
    """The checkpoint of a training's folder that has the most steps; None if there is none."""
    return max(folder.glob("step-*"), default=None)


def read_state(checkpoint: Path) -> dict[str, Any]:
    """A checkpoint's steps, seconds and plain values, once its files agree with their sums.

    Raises `OSError`, `ValueError`, `KeyError`, `TypeError` or `AttributeError` if they do not.
    """
    text = (checkpoint / STATE).read_text(encoding="utf-8")
    state = json.loads(text)
    if "seal" in state:  # which older versions did not write
        state = unsealed(text)
    for name, digest in state["sha256"].items():
        if sha256(checkpoint / name) != digest:
            raise ValueError(f"{name} has changed")
    return state


def problems(folder: Path) -> list[str]:
    """What is wrong with the newest checkpoint in a training's folder, a sentence each; it is read whole."""
    found = newest(folder)
    if found is None:
        return []
    try:
        read_state(found)
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        return [f"the checkpoint {found} cannot be read ({error})."]
    return []
