"""PRISM (Tang et al., ICML 2026, arXiv 2606.03444): SAK's successor, a stem whose blocks hold a conditioned mixture of
experts beside their own feed-forward layer.

At each level's block an anchor stream, the block's own layer, is mixed with an expert stream, a shared expert and three
of fifteen that a router picks for every token. What the router sees is modulated by a code: in stage 1 that of a
teacher, one drawn for each image, so that experts specialise by themselves; in stage 2 that of a task. From the paper's
description and its released configuration; of the latter the random dropping of experts and the scaling of their inputs
by their gates are left out, and so is the decorrelation term of its distillation loss.
"""

from collections.abc import Mapping, Sequence
from copy import deepcopy

import torch
import torch.nn.functional as F
from timm.models.vision_transformer import VisionTransformer
from torch import Tensor, nn

from sakbench.backbones.encoder import LEVELS, Encoder, resize_position_embedding
from sakbench.errors import UserError
from sakbench.models import decoders
from sakbench.models.hub import Saved
from sakbench.models.processes import standard_normal

EXPERTS, ACTIVE = 15, 3
LEAST_ANCHOR = 0.5  # the anchor's share in the mixture, at least
BALANCE = 1e-3  # weight of the loss that spreads tokens over the experts: 0.1 x 0.01


class Prism(nn.Module, Saved):
    """The student. `teachers` gives each teacher's width, `tasks` each task's number of channels (none in stage 1).

    Raises UserError if the stem is not a plain vision transformer, or there is no teacher.
    """

    stands_on = "stem"

    def __init__(
        self,
        stem: Encoder,
        teachers: Mapping[str, int],
        tasks: Mapping[str, int] | None = None,
        *,
        experts: int = EXPERTS,
        active: int = ACTIVE,
    ):
        super().__init__()
        if not isinstance(stem.vit, VisionTransformer):
            raise UserError(f"PRISM's stem must be a plain vision transformer, not {type(stem.vit).__name__}.")
        if not teachers:
            raise UserError("a PRISM student needs at least one teacher.")
        self.stem = stem
        self.teachers, self.tasks = dict(teachers), dict(tasks or {})
        self.mixtures = nn.ModuleList(
            Mixture(stem.vit.get_submodule(f"blocks.{level - 1}.mlp"), stem.dim, experts, active)
            for level in stem.levels
        )
        self.teacher_codes = nn.Parameter(torch.randn(len(self.teachers), stem.dim))
        # Without tasks it is empty, and processes that train together wait for every parameter's gradient.
        self.task_codes = nn.Parameter(torch.randn(len(self.tasks), stem.dim), requires_grad=bool(self.tasks))
        self.aligners = nn.ModuleList(
            nn.ModuleList(_projector(stem.dim, width) for _ in range(LEVELS)) for width in self.teachers.values()
        )
        self.heads = decoders.make("simple", stem.dims, self.tasks)
        self.settings = {"teachers": self.teachers, "tasks": self.tasks, "experts": experts, "active": active}
        self.about, self.output_size = {}, None

    def forward(self, images: Tensor, output_size: tuple[int, int] | None = None) -> dict[str, Tensor]:
        """Images (B, 3, H, W) to each task's logits (B, c, H', W') at `output_size`, by default the images' own."""
        return self.predict(self.represent(images), output_size or (images.shape[2], images.shape[3]))

    def represent(self, images: Tensor) -> list[Tensor]:
        """What all conditions share: the tokens [(B, prefix + n, d)] that the first mixture's block is given."""
        vit = self.stem.vit
        tokens = vit.norm_pre(vit._pos_embed(vit.patch_embed(self.stem._renormalised(images))))
        for block in vit.blocks[: self.stem.levels[0] - 1]:
            tokens = block(tokens)
        return [tokens]

    def predict(self, represented: Sequence[Tensor], output_size: tuple[int, int]) -> dict[str, Tensor]:
        """Each task's logits (B, c, H, W) at `output_size`."""
        return self.recomposed(represented[0], output_size)[0]

    def recomposed(self, tokens: Tensor, output_size: tuple[int, int]) -> tuple[dict[str, Tensor], Tensor]:
        """The tasks' logits, every task through experts of its own choice, and the balance of these choices."""
        levels, balance = self._conditioned(tokens, self.task_codes)
        maps = {task: [self._map(level[:, index]) for level in levels] for index, task in enumerate(self.tasks)}
        return self.heads(maps, output_size), balance

    def levels(self, images: Tensor, codes: Tensor) -> list[Tensor]:
        """The levels' patch tokens (B, C, n, d) of images (B, 3, H, W) under each of C codes (C, d)."""
        return self._conditioned(self.represent(images)[0], codes)[0]

    def student_maps(self, represented: Sequence[Tensor]) -> dict[str, list[Tensor]]:
        """What is compared with each teacher: per level a projected map (B, d_teacher, h, w)."""
        levels, _ = self._conditioned(represented[0], self.teacher_codes)
        return {
            name: [self._map(align(level[:, index])) for align, level in zip(aligners, levels, strict=True)]
            for index, (name, aligners) in enumerate(self._aligners())
        }

    def deconstructed(self, tokens: Tensor, chosen: Tensor) -> tuple[dict[str, tuple[Tensor, list[Tensor]]], Tensor]:
        """Each image (B,) under the one teacher that was `chosen` for it: by teacher which images (b,) these are and
        their four projected maps (b, d_teacher, h, w), and the balance of the choices of experts."""
        levels, balance = self._passed(tokens, self.teacher_codes[chosen])
        maps = {}
        for index, (name, aligners) in enumerate(self._aligners()):
            rows = (chosen == index).nonzero()[:, 0]
            maps[name] = rows, [self._map(align(level[rows])) for align, level in zip(aligners, levels, strict=True)]
        return maps, balance

    def shares(self, images: Tensor) -> Tensor:
        """How the mean token's gates are shared among the experts under each task, (levels, T, experts)."""
        kept: list[Tensor] = []
        self._conditioned(self.represent(images)[0], self.task_codes, kept)
        return torch.stack([gates.unflatten(0, (len(images), -1)).mean((0, 2)) for gates in kept])

    def _aligners(self) -> list[tuple[str, list[nn.Module]]]:
        """Each teacher's four projectors."""
        return [
            (name, [self.aligners.get_submodule(f"{index}.{level}") for level in range(LEVELS)])
            for index, name in enumerate(self.teachers)
        ]

    def _conditioned(
        self, tokens: Tensor, codes: Tensor, kept: list[Tensor] | None = None
    ) -> tuple[list[Tensor], Tensor]:
        """The levels (B, C, n, d) under each of C codes, and the balance.

        Images stay in their order, so that each draws its own noise in however many processes they are.
        """
        images, count = len(tokens), len(codes)
        levels, balance = self._passed(tokens.repeat_interleave(count, 0), codes.repeat(images, 1), kept)
        return [level.unflatten(0, (images, count)) for level in levels], balance

    def _passed(self, tokens: Tensor, codes: Tensor, kept: list[Tensor] | None = None) -> tuple[list[Tensor], Tensor]:
        """Tokens (B, prefix + n, d) under a code (B, d) each through the blocks: the levels' patch tokens, balance."""
        vit, prefix = self.stem.vit, self.stem.prefix_tokens
        first = self.stem.levels[0]
        mixtures = dict(zip(self.stem.levels, self.mixtures, strict=True))
        levels, balances = [], []
        for number, block in enumerate(vit.blocks[first - 1 :], start=first):
            if number not in mixtures:
                tokens = block(tokens)
                continue
            tokens = tokens + block.ls1(block.attn(block.norm1(tokens)))
            mixed, balance, gates = mixtures[number](block.norm2(tokens), block.mlp, codes)
            tokens = tokens + block.ls2(mixed)
            levels.append(tokens[:, prefix:])
            balances.append(balance)
            if kept is not None:
                kept.append(gates)
        return levels, torch.stack(balances).sum()

    def _map(self, tokens: Tensor) -> Tensor:
        """Patch tokens (B, n, d) as a map (B, d, h, w)."""
        return tokens.transpose(1, 2).unflatten(2, self.stem.grid)


class Mixture(nn.Module):
    """A shared expert and `experts` of which each token gets `active`, mixed with the block's own layer, the anchor.

    All begin as copies of the anchor; the router's noise tells them apart.
    """

    def __init__(self, anchor: nn.Module, dim: int, experts: int, active: int):
        super().__init__()
        self.active = active
        self.shared = deepcopy(anchor)
        self.experts = nn.ModuleList(deepcopy(anchor) for _ in range(experts))
        self.film = nn.Linear(dim, 2 * dim)
        self.influence = nn.Linear(dim, dim)
        self.router, self.noise = nn.Linear(dim, experts), nn.Linear(dim, experts)
        self.share = nn.Linear(dim, 1)
        for zeros in (self.film.weight, self.film.bias, self.share.weight, self.share.bias):
            nn.init.zeros_(zeros)

    def forward(self, tokens: Tensor, anchor: nn.Module, codes: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Tokens (B, n, d) under codes (B, d): the mixture (B, n, d), how unevenly the experts are chosen (1 at best,
        number of experts / active at worst), and the gates (B, n, experts), zero where an expert is not chosen."""
        batch, count, _ = tokens.shape
        scale, shift = self.film(codes)[:, None].chunk(2, dim=-1)
        seen = tokens + self.influence(tokens).sigmoid() * (scale * tokens + shift)
        logits = self.router(seen).float()  # who is chosen is not rounded, whatever the precision
        if self.training:
            logits = logits + standard_normal(batch, count, logits.shape[-1], like=logits) * F.softplus(
                self.noise(seen)
            )
        best, places = logits.topk(self.active, dim=-1)
        gates = torch.zeros_like(logits).scatter(-1, places, best.softmax(-1))
        experts = self.shared(tokens) + self._sparse(tokens, gates)
        share = LEAST_ANCHOR + (1 - LEAST_ANCHOR) * self.share(tokens).sigmoid()
        load, wanted = (gates > 0).float().flatten(0, 1).mean(0), logits.softmax(-1).flatten(0, 1).mean(0)
        balance = len(load) / self.active * (load * wanted).sum()
        return share * anchor(tokens) + (1 - share) * experts, balance, gates

    def _sparse(self, tokens: Tensor, gates: Tensor) -> Tensor:
        """Each token through the experts that its gates (B, n, experts) name."""
        flat, weights = tokens.flatten(0, 1), gates.flatten(0, 1)
        result = torch.zeros_like(flat)
        for index, expert in enumerate(self.experts):
            if flat.is_meta:  # nobody knows who is chosen: the experts share evenly
                rows = torch.zeros(len(flat) * self.active // len(self.experts), dtype=torch.int64, device="meta")
            else:
                rows = weights[:, index].nonzero()[:, 0]
            weighed = expert(flat[rows]) * weights[rows, index, None]
            result = result.index_add(0, rows, weighed.to(result.dtype))
        return result.view_as(tokens)


def begin_with(stage1: Mapping[str, Tensor], student: Prism, grid: tuple[int, int] | None = None) -> None:
    """Start stage 2 from a stage-1 student's state; the tasks' codes and heads stay fresh.

    The position embedding is resized from stage 1's `grid` of patch tokens (square if None).
    Raises UserError if the state is of another student.
    """
    state, key, prefix = dict(stage1), "stem.vit.pos_embed", student.stem.prefix_tokens
    state.pop("task_codes", None)
    try:
        side = round((state[key].shape[1] - prefix) ** 0.5)
        state[key] = resize_position_embedding(state[key], grid or (side, side), student.stem.grid, prefix)
        missing, unexpected = student.load_state_dict(state, strict=False)
    except (KeyError, RuntimeError) as error:
        raise UserError(f"the stage-1 state does not fit this student: {error}") from error
    astray = [name for name in missing if not name.startswith(("heads.", "task_codes"))] + unexpected
    if astray:
        raise UserError(f"the stage-1 state does not fit this student: {', '.join(astray[:5])} have no counterpart.")


def _projector(dim: int, width: int) -> nn.Module:
    return nn.Sequential(nn.Linear(dim, 4 * dim), nn.GELU(), nn.Linear(4 * dim, width))
