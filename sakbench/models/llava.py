"""LLaVA-1.5 (Liu et al. 2024) with any vision tower (paper Table 28): frozen tokens, a projector, a language model.

A SAK student is a tower whose stem and adapter paths are frozen, and whose routers learn with the projector.
"""

from typing import Any, Protocol

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from sakbench.backbones.encoder import Encoder
from sakbench.models.router import make as make_router
from sakbench.models.sak import SAK, initialise

IGNORED = -100  # a target that is not learned


class Language(Protocol):
    """A causal language model of transformers."""

    model: Any

    @property
    def dim(self) -> int:
        """The width of its vectors."""


class PlainTower(nn.Module):
    """A frozen encoder's last level; more patches than `most` x `most` are averaged down to that."""

    def __init__(self, encoder: Encoder, most: int):
        super().__init__()
        self.encoder, self.most, self.dim = encoder, most, encoder.dim

    def represent(self, images: Tensor) -> Tensor:
        """Images (B, 3, H, W) to what does not change: tokens (1, B, n, d)."""
        return _tokens(self.encoder(images)[-1], self.most)[None]

    def forward(self, represented: Tensor) -> Tensor:
        """(1, B, n, d) to tokens (B, n, d), each normalised without parameters."""
        return _normed(represented[0])


class SakTower(nn.Module):
    """A frozen SAK student's last level, mixed by routers that learn."""

    def __init__(self, student: SAK, most: int):
        super().__init__()
        self.student, self.most, self.dim = student, most, student.stem.dim
        self.router = make_router("mor", 1, len(student.teachers) + 1, self.dim, student.settings["noise"])
        initialise(self.router)

    def represent(self, images: Tensor) -> Tensor:
        """Images (B, 3, H, W) to the experts (N+1, B, n, d)."""
        experts = self.student.represent(images)[-1]
        maps = experts.transpose(2, 3).unflatten(3, self.student.stem.grid)
        return torch.stack([_tokens(each, self.most) for each in maps])

    def forward(self, represented: Tensor) -> Tensor:
        """Experts (N+1, B, n, d) to tokens (B, n, d), each normalised without parameters."""
        gates = self.router(represented[0], noisy=self.training)
        weights = "bnte" if gates.dim() == 4 else "bte"
        return _normed(torch.einsum(f"{weights},ebnd->tbnd", gates, represented)[0])


Tower = PlainTower | SakTower


class Llava(nn.Module):
    """A tower (none: a model that is blind), a projector of two layers, and a language model."""

    def __init__(self, tower: Tower | None, language: Language):
        super().__init__()
        self.tower = tower
        self.language = language.model
        width = language.dim
        self.projector = (
            nn.Sequential(nn.Linear(tower.dim, width), nn.GELU(), nn.Linear(width, width)) if tower else None
        )

    def forward(self, before: Tensor, represented: Tensor | None, pictured: Tensor, after: Tensor) -> Tensor:
        """Logits (B, t, vocabulary) of each token behind the image, from all that stands before it.

        `before` (B, a) are the tokens in front of the image, `represented` what the tower represents of it, `pictured`
        (B,) whether there is one, `after` (B, t) the tokens behind it, -1 where a row is padded.
        """
        embeddings, mask = self.embedded(before, represented, pictured, after)
        places = (mask.cumsum(1) - 1).clamp(min=0)
        answer = self.language(inputs_embeds=embeddings, attention_mask=mask, position_ids=places, use_cache=False)
        return answer.logits[:, -after.shape[1] - 1 : -1]

    def embedded(
        self, before: Tensor, represented: Tensor | None, pictured: Tensor, after: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Everything as vectors (B, length, width), and which of them are there, int64 (B, length)."""
        embed = self.language.get_input_embeddings()
        parts, there = [embed(before)], [torch.ones_like(before)]
        if self.tower is not None and self.projector is not None and represented is not None:
            tokens = self.projector(self.tower(represented))
            parts.append(tokens.to(parts[0].dtype))
            there.append(pictured.long()[:, None].expand(tokens.shape[:2]))
        parts.append(embed(after.clamp(min=0)))
        there.append((after >= 0).long())
        return torch.cat(parts, 1), torch.cat(there, 1)

    @torch.inference_mode()
    def answer(
        self, before: Tensor, represented: Tensor | None, pictured: Tensor, after: Tensor, end: int, most: int
    ) -> list[list[int]]:
        """The likeliest next tokens, one by one, of rows that are as long as each other: at most `most`, to `end`."""
        embeddings, mask = self.embedded(before, represented, pictured, after)
        said = self.language.generate(
            inputs_embeds=embeddings,
            attention_mask=mask,
            max_new_tokens=most,
            do_sample=False,
            eos_token_id=end,
            pad_token_id=end,
        ).tolist()
        return [row[: row.index(end)] if end in row else row for row in said]


def answer_loss(logits: Tensor, after: Tensor, learned: Tensor, count: Tensor) -> Tensor:
    """Cross-entropy of the tokens (B, t) that are learned, over `count`.

    The first token of a row without an image must not be learned: what stands before it is padding.
    """
    targets = torch.where(learned, after, IGNORED)
    total = F.cross_entropy(logits.float().transpose(1, 2), targets, ignore_index=IGNORED, reduction="sum")
    return total / count.clamp(min=1)


def _tokens(maps: Tensor, most: int) -> Tensor:
    """A map (B, d, h, w) as tokens (B, n, d), averaged down to `most` x `most` where there are more."""
    size = min(maps.shape[2], most), min(maps.shape[3], most)
    return F.adaptive_avg_pool2d(maps, size).flatten(2).transpose(1, 2)


def _normed(tokens: Tensor) -> Tensor:
    return F.layer_norm(tokens, tokens.shape[-1:])
