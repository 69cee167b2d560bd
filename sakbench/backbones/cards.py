"""What identifies weights, and those that ship with the package: safetensors beside a card (no torch here)."""

import hashlib
import json
from functools import cache
from pathlib import Path
from typing import Any

from sakbench.backbones.registry import TIMM_PREFIX, info
from sakbench.errors import UserError

WEIGHTS = Path(__file__).parent / "weights"
REMEDY = f"`sakbench pretrain --output {WEIGHTS}` makes the shipped weights anew."


def read_card(name: str) -> dict[str, Any]:
    """The card of a shipped backbone: recipe, steps, data seed, gate figures, sha256 of the weights.

    Raises UserError if the card is missing or not a card.
    """
    path = WEIGHTS / f"{name}.json"
    if not path.is_file():
        raise UserError(f"the card of {name} is missing (looked for {path}): {REMEDY}")
    try:
        card = json.loads(path.read_text(encoding="utf-8"))
        bytes.fromhex(card["sha256"])
    except (ValueError, KeyError, TypeError) as error:
        raise UserError(f"{path} is not a card with a sha256: {REMEDY}") from error
    return card


def weights_file(name: str) -> Path:
    """The safetensors file of a shipped backbone, its content checked against the card.

    Raises UserError if the file is missing or is not the one that the card describes.
    """
    path, card = WEIGHTS / f"{name}.safetensors", read_card(name)
    if not path.is_file():
        raise UserError(f"the weights of {name} are missing (looked for {path}): {REMEDY}")
    if file_digest(path) != card["sha256"]:
        raise UserError(f"{path} does not match the checksum on its card, it is damaged or another's: {REMEDY}")
    return path


def weights_digest(name: str, weights: Path | None = None) -> str:
    """What identifies a backbone's weights: 12 digits of a file's sha256, the hub's pinned name, or "random".

    `weights` is a file that takes the place of the backbone's own.
    Raises UserError for an unknown name, a missing card or a file that cannot be read.
    """
    if weights is not None:
        return file_digest(weights)[:12]
    if name.startswith(TIMM_PREFIX):
        return name.removeprefix(TIMM_PREFIX)
    entry = info(name)
    if entry.weights == "package":
        return read_card(name)["sha256"][:12]
    if entry.weights == "own":
        return f"version {entry.version or 'unknown'}"
    return "random" if entry.weights == "random" else name


def file_digest(path: Path) -> str:
    """The sha256 of a file of weights. Raises UserError if it cannot be read."""
    try:
        state = path.stat()
        return _digest(path, state.st_mtime_ns, state.st_size)
    except OSError as error:
        raise UserError(f"the weights {path} cannot be read ({error.strerror}): name another file.") from error


@cache  # of a file as it is: it may have gigabytes, and every run that reads it asks
def _digest(path: Path, modified: int, size: int) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
