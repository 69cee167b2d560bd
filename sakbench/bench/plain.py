"""The student as the paper writes it down, and no cheaper: what `sakbench bench` and the tests compare ours with.

Every teacher's adapter and every task's router is a module of its own, experts are stacked per task as maps, heads
convolve at full resolution. The names of its parameters are those of the authors' files (`models.reference`), so a
student's state goes from one to the other.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import timm
import torch
import torch.nn.functional as F
from timm.models.vision_transformer import VisionTransformer
from timm.models.vision_transformer_sam import VisionTransformerSAM
from torch import Tensor, nn

from sakbench.backbones.encoder import LEVELS, Encoder
from sakbench.backbones.registry import TIMM_PREFIX
from sakbench.models.processes import standard_normal
from sakbench.models.reference import TASKS, TEACHERS, state_dict, their_name
from sakbench.models.sak import SAK


class PlainSAK(nn.Module):
    """A copy of `student` with all its parameters; it has one token grid, the student's.

    The student has adapter paths, routers, simple heads and a plain ViT as its stem (class token, no registers).
    Raises UserError (`models.reference.state_dict`) or torch's RuntimeError for another.
    """

    def __init__(self, student: SAK):
        super().__init__()
        teachers = {their_name(TEACHERS, name): (name, width) for name, width in student.teachers.items()}
        tasks = {their_name(TASKS, name): name for name in student.tasks}
        self.backbone = _Backbone(student.stem, {name: width for name, (_, width) in teachers.items()}, list(tasks))
        self.heads = nn.ModuleDict(
            {theirs: PlainHead(student.stem.dim, student.tasks[ours]) for theirs, ours in tasks.items()}
        )
        self.names = {**{theirs: ours for theirs, (ours, _) in teachers.items()}, **tasks}
        self.load_state_dict(state_dict(student))

    def forward(self, images: Tensor, output_size: tuple[int, int]) -> dict[str, Tensor]:
        """Images (B, 3, H, W) to each task's logits (B, c, H', W') at `output_size`."""
        fused, _ = self.backbone(images)
        return self.decode(fused, output_size)

    def decode(self, fused: Mapping[str, Sequence[Tensor]], output_size: tuple[int, int]) -> dict[str, Tensor]:
        """Four fused maps (B, d, h, w) per task, by the authors' names, to logits (B, c, H', W') by ours."""
        return {self.names[task]: head(fused[task], output_size) for task, head in self.heads.items()}


class _Backbone(nn.Module):
    """Stem, adapter paths, output norms, aligners and routers (Eq. 1 to 4)."""

    def __init__(self, stem: Encoder, teachers: Mapping[str, int], tasks: Sequence[str]):
        super().__init__()
        vit, dim = stem.vit, stem.dim
        self.vit = VisionTransformer(
            img_size=stem.image_size,
            patch_size=stem.patch_size,
            embed_dim=dim,
            depth=stem.depth,
            num_heads=vit.blocks[0].attn.num_heads,
            mlp_ratio=vit.blocks[0].mlp.fc1.out_features / dim,
            num_classes=0,
        )
        self.vit.norm = nn.Identity()
        self.teachers, self.tasks = list(teachers), list(tasks)
        self.blocks = [level - 1 for level in stem.levels]
        self.grid, self.prefix = stem.grid, stem.prefix_tokens
        self.tsap = nn.ModuleDict(
            {name: nn.ModuleList(_Adapter(dim) for _ in range(stem.depth + 1)) for name in teachers}
        )
        self.out_norms = nn.ModuleDict({f"{b}_{name}": nn.LayerNorm(dim) for b in self.blocks for name in teachers})
        self.ts_aligners = nn.ModuleDict(
            {
                f"{b}_{name}": nn.Linear(dim, width)
                for b in self.blocks
                for name, width in teachers.items()
                if width != dim
            }
        )
        self.mor = nn.ModuleDict(
            {f"{b}_{task}": _Router(dim, len(teachers) + 1) for b in self.blocks for task in tasks}
        )

    def forward(
        self, images: Tensor, *, align: bool = False
    ) -> tuple[dict[str, list[Tensor]], dict[str, list[Tensor]]]:
        """Per task four fused maps (B, d, h, w); with `align`, per teacher four aligned ones (B, d_teacher, h, w)."""
        tokens = self.vit.norm_pre(self.vit._pos_embed(self.vit.patch_embed(images)))
        paths = {name: adapters[0](tokens) for name, adapters in self._paths()}
        fused: dict[str, list[Tensor]] = {task: [] for task in self.tasks}
        aligned: dict[str, list[Tensor]] = {name: [] for name in self.teachers}
        for number, block in enumerate(self.vit.blocks):
            tokens = block(tokens)
            paths = {name: adapters[number + 1](paths[name] + tokens) for name, adapters in self._paths()}
            if number not in self.blocks:
                continue
            normed = {name: self.out_norms[f"{number}_{name}"](path) for name, path in paths.items()}
            maps = {name: self._map(path) for name, path in normed.items()}
            for name in self.teachers if align else ():
                key = f"{number}_{name}"
                wide = self._map(self.ts_aligners[key](normed[name])) if key in self.ts_aligners else maps[name]
                aligned[name].append(wide)
            if not self.tasks:
                continue
            stem = self._map(tokens)
            for task in self.tasks:
                experts = torch.stack([stem, *maps.values()], dim=1)
                fused[task].append(self.mor[f"{number}_{task}"](stem, experts))
        return fused, aligned

    def _paths(self) -> list[tuple[str, Any]]:
        return list(self.tsap.items())

    def _map(self, tokens: Tensor) -> Tensor:
        return tokens[:, self.prefix :].transpose(1, 2).unflatten(2, self.grid).contiguous()


class _Adapter(nn.Module):
    """Eq. 3."""

    def __init__(self, dim: int):
        super().__init__()
        self.down, self.up = nn.Linear(dim, dim // 4), nn.Linear(dim // 4, dim)
        self.scale = nn.Parameter(torch.ones(1))

    def forward(self, tokens: Tensor) -> Tensor:
        return self.scale * self.up(F.gelu(self.down(tokens))) + tokens


class _Router(nn.Module):
    """Eq. 4 for one task and level; in training with noise at every position."""

    def __init__(self, dim: int, experts: int):
        super().__init__()
        layers = nn.Linear(dim, dim // 2), nn.LayerNorm(dim // 2), nn.GELU(), nn.Linear(dim // 2, 2 * experts)
        self.router = nn.ModuleDict({"module": nn.Sequential(*layers)})

    def forward(self, stem: Tensor, experts: Tensor) -> Tensor:
        """The stem's map (B, d, h, w) and the experts (B, N+1, d, h, w) to the fused map (B, d, h, w)."""
        pooled = self.router["module"](stem.flatten(2).transpose(1, 2)).mean(dim=1)
        logits, raw = (part[:, :, None, None].expand(-1, -1, *stem.shape[2:]) for part in pooled.chunk(2, dim=1))
        if self.training:
            noise = standard_normal(*logits.shape, like=logits)
            logits = logits + noise * (F.softplus(raw) + 1e-2)
        return (logits.softmax(dim=1)[:, :, None] * experts).sum(dim=1)


class PlainHead(nn.Module):
    """B.1, at a quarter of the output's size."""

    def __init__(self, dim: int, channels: int):
        super().__init__()
        self.linears = nn.ModuleList(nn.Linear(dim, dim // 4) for _ in range(LEVELS))
        self.linear_fuse = nn.Sequential(nn.Conv2d(dim, dim, 3, padding=1), nn.BatchNorm2d(dim))
        self.last_conv = nn.Conv2d(dim, channels, 1)

    def forward(self, maps: Sequence[Tensor], output_size: tuple[int, int]) -> Tensor:
        """Four maps (B, d, h, w) to logits (B, channels, H, W)."""
        quarter = (output_size[0] // 4, output_size[1] // 4)
        enlarged = [
            F.interpolate(linear(level.permute(0, 2, 3, 1)).permute(0, 3, 1, 2), quarter, mode="bilinear")
            for linear, level in zip(self.linears, maps, strict=True)
        ]
        return F.interpolate(
            self.last_conv(F.gelu(self.linear_fuse(torch.cat(enlarged, 1)))), output_size, mode="bilinear"
        )


def plain_distillation(student: Sequence[Tensor], teacher: Sequence[Tensor]) -> Tensor:
    """Eq. 5 of one teacher, from four maps (B, d, h, w) of each."""
    terms = []
    for ours, theirs in zip(student, teacher, strict=True):
        size = (max(ours.shape[2], theirs.shape[2]), max(ours.shape[3], theirs.shape[3]))
        ours, theirs = (F.interpolate(m, size, mode="bilinear") if m.shape[2:] != size else m for m in (ours, theirs))
        cosine = F.cosine_similarity(ours.flatten(1), theirs.flatten(1)).mean()
        terms.append(0.9 * (1 - cosine) + 0.1 * F.smooth_l1_loss(ours, theirs))
    return torch.stack(terms).sum()


def plain_teacher(encoder: Encoder) -> Encoder:
    """The same teacher; SAM's with timm's own attention, where relative positions are a matrix of all pairs."""
    if not isinstance(encoder.vit, VisionTransformerSAM):
        return encoder
    vit = timm.create_model(encoder.name.removeprefix(TIMM_PREFIX), pretrained=False, num_classes=0)
    plain = Encoder(vit, image_size=encoder.image_size, own_input=encoder.own_input, sam_padding=encoder.sam_padding)
    plain.load_state_dict(encoder.state_dict())
    return plain.eval().requires_grad_(False)
