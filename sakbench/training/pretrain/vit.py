"""The encoders that are pretrained here: plain timm vision transformers of the registered sizes."""

import copy
import math
from typing import Any

import torch
from timm.models.vision_transformer import VisionTransformer
from torch import Tensor, nn
from torch.nn import functional as F

from sakbench.backbones import info


def build(name: str, *, depth: int | None = None) -> VisionTransformer:
    """A freshly initialised encoder of a backbone's size (or of another depth), with its final norm, without a head.

    Unlike timm's initialisation, which is meant for wide models and many steps, the layers keep the scale of what
    they are given (Xavier) and the position embedding begins as sines: narrow models leave their plateau sooner.
    """
    size = info(name)
    vit = VisionTransformer(
        img_size=size.image_size,
        patch_size=size.patch_size,
        embed_dim=size.dim,
        depth=depth or size.depth,
        num_heads=size.heads,
        num_classes=0,
    )
    for module in vit.modules():
        if isinstance(module, nn.Linear):
            nn.init.xavier_uniform_(module.weight)
            nn.init.zeros_(module.bias)
    with torch.no_grad():
        class_token, positions = _embeddings(vit)
        positions[0, 1:] = 0.5 * _sines(size.image_size // size.patch_size, size.dim)
        class_token.normal_(std=0.5)
    return vit


def deepened(vit: VisionTransformer) -> VisionTransformer:
    """A copy with twice the blocks that computes the same: each block is followed by a twin whose outputs are zero."""
    deep = copy.deepcopy(vit)
    blocks = []
    for block in deep.blocks:
        twin: Any = copy.deepcopy(block)  # a timm Block
        for layer in (twin.attn.proj, twin.mlp.fc2):
            nn.init.zeros_(layer.weight)
            nn.init.zeros_(layer.bias)
        blocks += [block, twin]
    deep.blocks = nn.Sequential(*blocks)
    return deep


def tokens(
    vit: VisionTransformer,
    images: Tensor,
    *,
    masked: Tensor | None = None,
    mask_token: Tensor | None = None,
    keep: Tensor | None = None,
) -> Tensor:
    """Class token and patch tokens after all blocks and the final norm, (B, 1 + n, d).

    `images` (B, 3, H, W) may be of any size that the patches tile; the position embedding is resized to it. Patches
    where `masked` (B, n) is true are replaced by `mask_token` (d,); with `keep` (B, k) only the patches of these
    indices go through the blocks, and n is k.
    """
    patches: Tensor = vit.patch_embed.proj(images)
    h, w = patches.shape[-2:]
    patches = patches.flatten(2).transpose(1, 2)
    if masked is not None and mask_token is not None:
        patches = torch.where(masked.unsqueeze(-1), mask_token, patches)
    patches = patches + _grid_positions(vit, h, w)
    if keep is not None:
        patches = patches.gather(1, keep.unsqueeze(-1).expand(-1, -1, patches.shape[-1]))
    class_token, positions = _embeddings(vit)
    first = (class_token + positions[:, :1]).expand(len(patches), -1, -1)
    out: Tensor = vit.norm(vit.blocks(torch.cat([first, patches], dim=1)))
    return out


def _embeddings(vit: VisionTransformer) -> tuple[nn.Parameter, nn.Parameter]:
    """The class token (1, 1, d) and the position embedding (1, 1 + n, d)."""
    assert vit.cls_token is not None and vit.pos_embed is not None
    return vit.cls_token, vit.pos_embed


def _grid_positions(vit: VisionTransformer, h: int, w: int) -> Tensor:
    """The patches' position embedding (1, h * w, d), resized bicubically where the image is not of the native size."""
    positions = _embeddings(vit)[1][:, 1:]
    rows, columns = vit.patch_embed.grid_size
    if (rows, columns) == (h, w):
        return positions
    grid = positions.reshape(1, rows, columns, -1).permute(0, 3, 1, 2)
    grid = F.interpolate(grid, size=(h, w), mode="bicubic", align_corners=False)
    return grid.flatten(2).transpose(1, 2)


def _sines(side: int, dim: int) -> Tensor:
    """Sines and cosines (side * side, dim) of the patches' places; the longest wave spans many images."""
    ticks = torch.arange(side) * (2 * math.pi / side)
    frequencies = 100 ** -(torch.arange(dim // 4) / (dim // 4))
    y, x = torch.meshgrid(ticks, ticks, indexing="ij")
    angles = [place.reshape(-1, 1) * frequencies for place in (x, y)]
    return torch.cat([wave(angle) for angle in angles for wave in (torch.sin, torch.cos)], dim=1)


def weight_decay_groups(module: nn.Module, weight_decay: float) -> list[dict[str, Any]]:
    """AdamW groups: matrices decay; biases, norms, tokens and position embeddings do not."""
    matrices: list[nn.Parameter] = []
    others: list[nn.Parameter] = []
    for name, parameter in module.named_parameters():
        if parameter.requires_grad:
            embedding = name.endswith(("pos_embed", "cls_token", "mask_token"))
            (matrices if parameter.ndim > 1 and not embedding else others).append(parameter)
    return [{"params": matrices, "weight_decay": weight_decay}, {"params": others, "weight_decay": 0.0}]
