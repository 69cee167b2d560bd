"""The sampler of the NYUD-like kind: furnished rooms in metres."""

from __future__ import annotations

INDOOR_CLASSES = (
    "other",
    "wall",
    "floor",
    "ceiling",
    "table",
    "chair",
    "bed",
    "sofa",
    "cabinet",
    "lamp",
    "picture",
    "window",
    "door",
    "cushion",
    "vase",
)


def sample_nyud(seed: int, index: int) -> "Scene":
    raise NotImplementedError
