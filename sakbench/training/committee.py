"""Frozen teachers beside a training: they see every image that the student sees, as the student sees it."""

from collections.abc import Mapping
from typing import Any

import torch
from torch import nn

from sakbench.backbones.encoder import Encoder
from sakbench.training.compiling import Compiled, compiles
from sakbench.training.precision import computing_in
from sakbench.training.recipe import Precision


class Committee:
    """Brings a batch to the device and adds what each teacher makes of its images: `features/NAME`, four maps.

    Its encoders are no part of the trained module: they are neither saved nor optimised.
    """

    def __init__(self, teachers: Mapping[str, Encoder], device: torch.device, precision: Precision = "fp32") -> None:
        self.device = device
        self.computing = computing_in(precision, device.type)
        self.teachers = {name: _ready(encoder, device, precision) for name, encoder in teachers.items()}

    def __call__(self, batch: dict[str, Any]) -> dict[str, Any]:
        """The batch with its tensors on the device, and the teachers' maps (b, d, h, w)."""
        here = moved(batch, self.device)
        with torch.no_grad(), self.computing:
            features = {f"features/{name}": teacher(here["image"]) for name, teacher in self.teachers.items()}
        return {**here, **features}


def moved(batch: dict[str, Any], device: torch.device) -> dict[str, Any]:
    """A batch whose tensors, and lists of them, are on the device; anything else stays as it is."""

    def move(value: Any) -> Any:
        if isinstance(value, torch.Tensor):
            return value.to(device, non_blocking=True)
        if isinstance(value, list) and value and isinstance(value[0], torch.Tensor):
            return [move(one) for one in value]
        return value

    return {name: move(value) for name, value in batch.items()}


def _ready(encoder: Encoder, device: torch.device, precision: Precision) -> Any:
    """Frozen and on its device; compiled where that can be done, since it sees images of one size."""
    encoder.eval().requires_grad_(False).to(device)
    if precision == "bf16":
        for module in encoder.modules():
            if isinstance(module, nn.Linear | nn.Conv2d):
                module.to(torch.bfloat16)  # once, instead of in every step
    return Compiled(encoder) if compiles(device) else encoder
