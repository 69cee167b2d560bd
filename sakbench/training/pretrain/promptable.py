"""Promptable segmentation, as in SAM: masks of objects and parts from points and boxes. Stands for SAM."""

import math
from collections.abc import Mapping
from typing import Any

import torch
from timm.models.vision_transformer import VisionTransformer
from torch import Tensor, nn
from torch.nn import functional as F

from sakbench.training.pretrain.views import normalise, random_colours, unit
from sakbench.training.pretrain.vit import tokens, weight_decay_groups

_POINT, _CORNER, _OTHER_CORNER, _NOTHING = range(4)
OBJECT, PART = 0, 1  # the two masks that answer a prompt


class Attention(nn.Module):
    """Multi-head attention from one set of tokens to another."""

    def __init__(self, dim: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.query, self.key, self.value, self.out = (nn.Linear(dim, dim) for _ in range(4))

    def forward(self, query: Tensor, key: Tensor, value: Tensor) -> Tensor:
        """Tokens (B, n, d), (B, m, d), (B, m, d) to (B, n, d)."""
        q, k, v = (
            layer(x).unflatten(2, (self.heads, -1)).transpose(1, 2)
            for layer, x in ((self.query, query), (self.key, key), (self.value, value))
        )
        out: Tensor = self.out(F.scaled_dot_product_attention(q, k, v).transpose(1, 2).flatten(2))
        return out


class TwoWayBlock(nn.Module):
    """Prompt tokens attend to themselves and to the image, then the image attends to them."""

    def __init__(self, dim: int, heads: int) -> None:
        super().__init__()
        self.to_self, self.to_image, self.to_tokens = (Attention(dim, heads) for _ in range(3))
        self.mlp = nn.Sequential(nn.Linear(dim, 4 * dim), nn.GELU(), nn.Linear(4 * dim, dim))
        self.norms = nn.ModuleList(nn.LayerNorm(dim) for _ in range(4))

    def forward(self, x: Tensor, image: Tensor, x_positions: Tensor, positions: Tensor) -> tuple[Tensor, Tensor]:
        """Tokens (B, n, d) and image (B, m, d), each with its positions, both updated."""
        q = x + x_positions
        x = self.norms[0](x + self.to_self(q, q, x))
        x = self.norms[1](x + self.to_image(x + x_positions, image + positions, image))
        x = self.norms[2](x + self.mlp(x))
        image = self.norms[3](image + self.to_tokens(image + positions, x + x_positions, x))
        return x, image


class MaskDecoder(nn.Module):
    """Prompts to masks: two two-way blocks, then one dynamic linear classifier per mask.

    A mask is the sum of a coarse one, classified in the image features that have seen the prompt, and a fine one,
    classified in maps upscaled by 4 that all prompts of an image share (SAM upscales them per prompt, which at this
    size would cost more than the encoder).
    """

    frequencies: Tensor

    def __init__(self, image_dim: int, dim: int = 64, heads: int = 4, masks: int = 2) -> None:
        super().__init__()
        self.neck = nn.Sequential(nn.Linear(image_dim, dim), nn.LayerNorm(dim))
        self.kinds = nn.Embedding(4, dim)
        self.mask_tokens = nn.Parameter(torch.randn(masks, dim))
        self.blocks = nn.ModuleList(TwoWayBlock(dim, heads) for _ in range(2))
        self.last = Attention(dim, heads)
        self.norm = nn.LayerNorm(dim)
        self.upscale = nn.Sequential(
            nn.ConvTranspose2d(dim, dim, 2, stride=2),
            nn.GELU(),
            nn.ConvTranspose2d(dim, dim // 2, 2, stride=2),
            nn.GELU(),
        )
        self.classifiers = nn.ModuleList(
            nn.Sequential(nn.Linear(dim, 2 * dim), nn.GELU(), nn.Linear(2 * dim, dim + dim // 2)) for _ in range(masks)
        )
        self.register_buffer("frequencies", torch.randn(2, dim // 2))

    def positions(self, points: Tensor) -> Tensor:
        """Fourier features (..., dim) of points (..., 2), (x, y) in 0 to 1."""
        angles = 2 * math.pi * (2 * points - 1) @ self.frequencies
        return torch.cat([angles.sin(), angles.cos()], dim=-1)

    def forward(self, image: Tensor, points: Tensor, kinds: Tensor) -> Tensor:
        """Mask logits (B, P, masks, 4 s, 4 s) of P prompts per image.

        `image` (B, s * s, d) are the encoder's patch tokens; a prompt is two points, (B, P, 2, 2) in 0 to 1, and
        their kinds (B, P, 2): a point and nothing, or two corners of a box.
        """
        side, prompts = math.isqrt(image.shape[1]), points.shape[1]
        prompt = self.kinds(kinds) + self.positions(points) * (kinds != _NOTHING).unsqueeze(-1)
        x = torch.cat([self.mask_tokens.expand(*prompt.shape[:2], -1, -1), prompt], dim=2).flatten(0, 1)
        x_positions = x
        grid = self.positions(_grid(side).to(image.device))
        shared = self.neck(image)
        features = shared.repeat_interleave(prompts, dim=0)
        for block in self.blocks:
            x, features = block(x, features, x_positions, grid)
        x = self.norm(x + self.last(x + x_positions, features + grid, features))

        weights = torch.stack([net(x[:, i]) for i, net in enumerate(self.classifiers)], dim=1)
        for_features, for_maps = weights.split([shared.shape[-1], shared.shape[-1] // 2], dim=2)
        coarse = (for_features @ features.transpose(1, 2)).unflatten(2, (side, side)) / 8
        coarse = F.interpolate(coarse, scale_factor=4, mode="bilinear", align_corners=False)
        maps = self.upscale(shared.transpose(1, 2).unflatten(2, (side, side)))
        fine = for_maps.unflatten(0, (-1, prompts)).flatten(1, 2) @ maps.flatten(2)
        return coarse.unflatten(0, (-1, prompts)) + fine.view(len(image), prompts, -1, 4 * side, 4 * side)


class Promptable(nn.Module):
    """Binary cross-entropy and Dice of the object's and the part's mask at a prompt.

    A point asks for both masks; a box round an object or a part asks for that one.
    """

    def __init__(self, vit: VisionTransformer, *, prompts: int = 6, boxes: float = 0.25) -> None:
        super().__init__()
        self.encoder = vit
        self.decoder = MaskDecoder(vit.embed_dim)
        self.prompts = prompts
        self.boxes = boxes

    def forward(self, batch: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """`images` uint8 (B, 128, 128, 3); `instance` and `part` uint8 (B, 64, 64), 0 where there is none."""
        flipped = torch.rand(len(batch["images"]), device=batch["images"].device) < 0.5
        images = torch.where(flipped.view(-1, 1, 1, 1), batch["images"].flip(2), batch["images"])
        ids = torch.stack([batch["instance"], batch["part"]], dim=1).long()
        ids = torch.where(flipped.view(-1, 1, 1, 1), ids.flip(3), ids)
        points, kinds, masks, asked = sample_prompts(ids, self.prompts, self.boxes)
        logits = self.masks(normalise(random_colours(unit(images), 0.1)), points, kinds)[asked]
        masks = masks[asked]
        bce = F.binary_cross_entropy_with_logits(logits, masks)
        return {"bce": bce, "dice": dice(logits, masks)}

    def masks(self, images: Tensor, points: Tensor, kinds: Tensor) -> Tensor:
        """Mask logits (B, P, 2, 64, 64), object first, of normalised images (B, 3, 128, 128)."""
        out: Tensor = self.decoder(tokens(self.encoder, images)[:, 1:], points, kinds)
        return out

    def parameter_groups(self) -> list[dict[str, Any]]:
        """Matrices decay, the rest does not."""
        return weight_decay_groups(self, 0.05)


def sample_prompts(ids: Tensor, prompts: int, boxes: float) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Random prompts on the objects of `ids` (B, 2, H, W): object ids, part ids, 0 where there is none.

    Returns points (B, P, 2, 2), kinds (B, P, 2), masks (B, P, 2, H, W) as floats, and which of them the prompt asks
    for (B, P, 2). Every object and every part is as likely to be hit as another of its image.
    """
    b, _, h, w = ids.shape
    flat = ids.flatten(2)
    pixel = torch.multinomial(_rarity(flat), prompts, replacement=True)
    chosen = flat.gather(2, pixel.unsqueeze(1).expand(-1, 2, -1)).transpose(1, 2)
    masks = (ids.unsqueeze(1) == chosen[..., None, None]) & (chosen > 0)[..., None, None]
    asked = chosen > 0
    point = torch.stack([pixel % w + 0.5, pixel // w + 0.5], dim=-1) / torch.tensor([w, h], device=ids.device)
    points = torch.stack([point, point], dim=2)
    kinds = torch.tensor([_POINT, _NOTHING], device=ids.device).expand(b, prompts, 2)

    is_box = torch.rand(b, prompts, device=ids.device) < boxes
    level = ((torch.rand(b, prompts, device=ids.device) < 0.5) & asked[..., PART]).long()
    target = masks.gather(2, level[..., None, None, None].expand(-1, -1, 1, h, w)).squeeze(2)
    corners = torch.tensor([_CORNER, _OTHER_CORNER], device=ids.device)
    points = torch.where(is_box[..., None, None], bounding_boxes(target), points)
    kinds = torch.where(is_box.unsqueeze(-1), corners, kinds)
    asked = asked & (~is_box.unsqueeze(-1) | (level.unsqueeze(-1) == torch.arange(2, device=ids.device)))
    return points, kinds, masks.float(), asked


def point_prompts(points: Tensor) -> tuple[Tensor, Tensor]:
    """Points (B, P, 2), (x, y) in 0 to 1, as the decoder's points and kinds."""
    kinds = torch.tensor([_POINT, _NOTHING], device=points.device).expand(*points.shape[:2], 2)
    return torch.stack([points, points], dim=2), kinds


def bounding_boxes(masks: Tensor) -> Tensor:
    """Corners (..., 2, 2), (x, y) in 0 to 1, of the boxes round masks (..., H, W); an empty mask gives the image."""
    corners = []
    for axis in (-2, -1):  # columns first: x comes before y
        filled = masks.any(dim=axis)
        n = filled.shape[-1]
        low = filled.float().argmax(dim=-1)
        high = n - filled.flip(-1).float().argmax(dim=-1)
        corners.append(torch.stack([low, high], dim=-1) / n)
    return torch.stack(corners, dim=-1)


def dice(logits: Tensor, masks: Tensor) -> Tensor:
    """Mean Dice loss of mask logits (n, H, W)."""
    p = logits.sigmoid().flatten(1)
    m = masks.flatten(1)
    return (1 - (2 * (p * m).sum(1) + 1) / (p.sum(1) + m.sum(1) + 1)).mean()


def _rarity(flat: Tensor) -> Tensor:
    """Weight (B, n) of each pixel: one over the area of its object plus one over that of its part."""
    weights = torch.zeros(flat.shape[0], flat.shape[2], device=flat.device)
    for ids in flat.unbind(dim=1):
        area = torch.zeros(len(ids), 256, device=flat.device).scatter_add_(1, ids, torch.ones_like(ids).float())
        weights += (ids > 0) / area.gather(1, ids)
    return weights + 1e-9


def _grid(side: int) -> Tensor:
    """Centres (side * side, 2) of a square grid's cells, (x, y) in 0 to 1, row by row."""
    ticks = (torch.arange(side) + 0.5) / side
    y, x = torch.meshgrid(ticks, ticks, indexing="ij")
    return torch.stack([x, y], dim=-1).view(-1, 2)
