"""The zoo: any encoder, four levels of patch-token maps. Importing this room does not import torch."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from sakbench.backbones import entries as entries
from sakbench.backbones.cards import read_card, weights_digest
from sakbench.backbones.hub import whereabouts
from sakbench.backbones.registry import BackboneInfo, info, names, register

if TYPE_CHECKING:
    from sakbench.backbones.build import Norm
    from sakbench.backbones.encoder import Encoder, SamPadding

__all__ = ["BackboneInfo", "create", "info", "names", "read_card", "register", "weights_digest", "whereabouts"]


def create(
    name: str,
    *,
    image_size: int | tuple[int, int] | None = None,
    pretrained: bool = True,
    weights: Path | None = None,
    norm: Norm = "paper",
    sam_padding: SamPadding = "crop",
    class_token: bool = False,
    final_norm: bool = False,
) -> Encoder:
    """Build a backbone by name: see `sakbench.backbones.build.create`."""
    from sakbench.backbones import build

    return build.create(
        name,
        image_size=image_size,
        pretrained=pretrained,
        weights=weights,
        norm=norm,
        sam_padding=sam_padding,
        class_token=class_token,
        final_norm=final_norm,
    )
