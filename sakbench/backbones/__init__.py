"""The zoo: any encoder, four levels of patch-token maps. Importing this room does not import torch."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sakbench.backbones.cards import read_card, weights_digest
from sakbench.backbones.registry import BackboneInfo, info, names

if TYPE_CHECKING:
    from sakbench.backbones.encoder import Encoder

__all__ = ["BackboneInfo", "create", "info", "names", "read_card", "weights_digest"]


def create(name: str, *, image_size: int | tuple[int, int] | None = None, pretrained: bool = True) -> Encoder:
    """Build a backbone by name: see `sakbench.backbones.encoder.create`."""
    from sakbench.backbones import encoder

    return encoder.create(name, image_size=image_size, pretrained=pretrained)
