"""Weights that ship with the package: a safetensors file beside a JSON card that holds its checksum (no torch here)."""

import hashlib
import json
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
    if _sha256(path) != card["sha256"]:
        raise UserError(f"{path} does not match the checksum on its card, it is damaged or another's: {REMEDY}")
    return path


def weights_digest(name: str) -> str:
    """What identifies a backbone's weights: 12 digits of their sha256, timm's pinned name, or "random".

    Raises UserError for an unknown name or a missing card.
    """
    if name.startswith(TIMM_PREFIX):
        return name.removeprefix(TIMM_PREFIX)
    entry = info(name)
    if entry.weights == "package":
        return read_card(name)["sha256"][:12]
    return "random" if entry.weights == "random" else name


def _sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()
