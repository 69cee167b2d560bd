"""The upper bounds of teacher amalgamation (paper C, Table 19): the teachers themselves beside a learnable stem."""

from collections.abc import Mapping, Sequence
from typing import Any, Self

import torch
from torch import Tensor, nn

from sakbench.backbones.encoder import Encoder
from sakbench.errors import UserError, unknown
from sakbench.models import decoders
from sakbench.models.interpolation import bilinear
from sakbench.models.parameters import TEACHERS
from sakbench.models.router import Noise, Routers, fuse
from sakbench.models.sak import initialise

FUSIONS = ("addition", "concat", "mor")


class UpperBound(nn.Module):
    """Frozen teachers beside a stem that is trained; at each level their raw maps are resized to the stem's and fused.

    `fuse` is "addition" (their sum), "concat" (side by side: the decoder is as wide as all of them) or "mor" (the sum
    weighted by each task's router, whose input is the stem). For a sum, maps of teachers of other widths first pass a
    linear alignment of their level; the paper's are as wide as its stem. No norm is put on the teachers' maps.

    The teachers neither learn nor leave evaluation mode, and `state_dict` is without them: they are what their names
    give, and loading a state leaves them as they are.

    Raises UserError without teachers or for an unknown fusion.
    """

    def __init__(
        self,
        stem: Encoder,
        teachers: Mapping[str, Encoder],
        tasks: Mapping[str, int],
        *,
        fuse: str = "addition",
        noise: Noise = "position",
        decoder: str = "simple",
    ):
        super().__init__()
        if fuse not in FUSIONS:
            raise unknown("fusion", fuse, FUSIONS)
        if not teachers:
            raise UserError("an upper bound needs at least one teacher; without any it is the multi-task baseline.")
        self.stem = stem
        self.teachers = nn.ModuleDict(teachers).requires_grad_(False).eval()
        self.tasks, self.fuse = dict(tasks), fuse
        widths = list(zip(*(encoder.dims for encoder in teachers.values()), strict=True))  # of each level
        self.alignments = nn.ModuleList(
            Alignments(level, level if fuse == "concat" else [dim] * len(level))
            for dim, level in zip(stem.dims, widths, strict=True)
        )
        self.routers = (
            nn.ModuleList(Routers(len(tasks), len(teachers) + 1, dim, noise) for dim in stem.dims)
            if fuse == "mor"
            else None
        )
        together = [dim + sum(level) for dim, level in zip(stem.dims, widths, strict=True)]
        self.heads = decoders.make(decoder, together if fuse == "concat" else stem.dims, tasks)
        for part in (self.alignments, self.routers):
            initialise(part)
        self.register_state_dict_post_hook(_without_teachers)
        self.register_load_state_dict_post_hook(_without_missing_teachers)

    def train(self, mode: bool = True) -> Self:
        """As `nn.Module.train`, for all but the teachers."""
        super().train(mode)
        self.teachers.eval()
        return self

    def forward(self, images: Tensor, output_size: tuple[int, int] | None = None) -> dict[str, Tensor]:
        """Images (B, 3, H, W) to each task's logits (B, c, H', W') at `output_size`, by default the images' own."""
        return self.predict(self.represent(images), output_size or (images.shape[2], images.shape[3]))

    def represent(self, images: Tensor) -> list[list[Tensor]]:
        """Per level the experts' maps (B, d_expert, h, w): the stem's, then each teacher's on the stem's grid."""
        levels = [[level] for level in self.stem(images)]
        for teacher in self.teachers.values():
            with torch.no_grad():
                maps = teacher(images)
            for experts, level in zip(levels, maps, strict=True):
                experts.append(bilinear(level, (experts[0].shape[2], experts[0].shape[3])))
        return levels

    def predict(self, experts: Sequence[Sequence[Tensor]], output_size: tuple[int, int]) -> dict[str, Tensor]:
        """Fuse the experts' maps and decode: each task's logits (B, c, H, W) at `output_size`."""
        aligned = [[level[0], *align(level[1:])] for align, level in zip(self.alignments, experts, strict=True)]
        if self.routers is not None:
            routed = [self._route(router, level) for router, level in zip(self.routers, aligned, strict=True)]
            return self.heads({task: [level[i] for level in routed] for i, task in enumerate(self.tasks)}, output_size)
        if self.fuse == "concat":
            shared = [torch.cat(level, dim=1) for level in aligned]
        else:
            shared = [torch.stack(level).sum(dim=0) for level in aligned]
        return self.heads(dict.fromkeys(self.tasks, shared), output_size)

    def gates(self, images: Tensor) -> Tensor:
        """The gates without noise, (levels, B, T, N+1): experts are the stem, then the teachers in order.

        Raises UserError for a fusion without routers.
        """
        if self.routers is None:
            raise UserError(f"fusion by {self.fuse} has no routers, so it has no gates.")
        stems = [_tokens(level) for level in self.stem(images)]
        return torch.stack([router(stem, noisy=False) for router, stem in zip(self.routers, stems, strict=True)])

    def _route(self, router: nn.Module, level: Sequence[Tensor]) -> Tensor:
        """The experts' maps (B, d, h, w) to every task's (T, B, d, h, w)."""
        experts = torch.stack([_tokens(expert) for expert in level])
        fused = fuse(experts, router(experts[0], noisy=self.training))
        return fused.transpose(2, 3).unflatten(3, level[0].shape[2:])


class Alignments(nn.Module):
    """At one level a linear map of channels for each teacher, from its width to the one it shall have, if another."""

    def __init__(self, widths: Sequence[int], dims: Sequence[int]):
        super().__init__()
        self.linears = nn.ModuleList(
            nn.Identity() if width == dim else nn.Conv2d(width, dim, kernel_size=1)
            for width, dim in zip(widths, dims, strict=True)
        )

    def forward(self, maps: Sequence[Tensor]) -> list[Tensor]:
        """A map (B, d_teacher, h, w) of each teacher to one (B, d, h, w)."""
        return [align(level) for align, level in zip(self.linears, maps, strict=True)]


def _tokens(maps: Tensor) -> Tensor:
    """Maps (B, d, h, w) as tokens (B, n, d)."""
    return maps.flatten(2).transpose(1, 2)


def _without_teachers(module: nn.Module, state: dict[str, Any], prefix: str, metadata: dict[str, Any]) -> None:
    for name in [name for name in state if name.startswith(prefix + TEACHERS)]:
        del state[name]


def _without_missing_teachers(module: nn.Module, keys: Any) -> None:
    keys.missing_keys[:] = [name for name in keys.missing_keys if f".{TEACHERS}" not in f".{name}"]
