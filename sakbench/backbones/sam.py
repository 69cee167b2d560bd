"""SAM's attention with its relative positions folded into queries and keys, as fused kernels can compute it."""

from typing import Any

import torch
import torch.nn.functional as F
from timm.models.vision_transformer_sam import VisionTransformerSAM
from torch import Tensor, nn

Size = tuple[int, int]

# CUDA's fused kernels want heads of a multiple of 8 elements (in bfloat16; 4 in float32).
_MULTIPLE = 8


def fold(vit: VisionTransformerSAM) -> None:
    """Give the blocks of timm's SAM a `FoldedAttention`, in place: the same function of the same parameters.

    Blocks with what no released SAM has (no relative positions, normalised queries and keys, dropout) stay as they are.
    """
    block: Any
    for block in vit.blocks:
        if _foldable(block.attn):
            block.attn = FoldedAttention(block.attn, block.window_size)
            block.window_size = 0  # so timm's block leaves the map whole


def _foldable(attention: Any) -> bool:
    plain = isinstance(attention.q_norm, nn.Identity) and not (attention.attn_drop.p or attention.proj_drop.p)
    return attention.use_rel_pos and plain and attention.qkv.bias is not None


class FoldedAttention(nn.Module):
    """timm's SAM attention, with its parameters, in windows of `window` x `window` cells (0: one of the whole map).

    To the logit of query q at row i, column j for the key at (k, l), SAM adds q . Rh[i - k] + q . Rw[j - l]
    (decomposed relative positions, MViTv2, Li et al. 2022). Added up for all pairs that is a matrix (heads, n, n) per
    window of n cells. Here a query is lengthened by its products with all rows of Rh and Rw that it meets, a key by
    the one-hot codes of its row and its column, and the product of the two is the whole logit.
    """

    def __init__(self, attention: Any, window: int):
        super().__init__()
        self.num_heads: int = attention.num_heads
        self.scale: float = attention.scale
        self.window = window
        self.rel_pos_h: nn.Parameter = attention.rel_pos_h
        self.rel_pos_w: nn.Parameter = attention.rel_pos_w
        self.qkv: nn.Linear = attention.qkv
        self.proj: nn.Linear = attention.proj

    def forward(self, x: Tensor) -> Tensor:
        """A map (B, H, W, C) to one of the same shape."""
        height, width = x.shape[1:3]
        size = self.window_size((height, width))
        queries, keys, values = self._windows(self.qkv(x), size)
        attended = self._attend(queries, keys, values)
        # (B, rows, columns, heads, h, w, d) to (B, rows * h, columns * w, heads * d)
        whole = attended.permute(0, 1, 4, 2, 5, 3, 6).flatten(5).flatten(3, 4).flatten(1, 2)
        return self.proj(whole[:, :height, :width])

    def window_size(self, size: Size) -> Size:
        """Height and width of the windows of a map of that size, in cells."""
        return (self.window, self.window) if self.window else size

    def _windows(self, qkv: Tensor, size: Size) -> Tensor:
        """Projected tokens (B, H, W, 3 * C) to queries, keys and values (3, B, rows, columns, heads, h, w, d).

        Windows at the border are filled up with tokens that are attended to: zeros before the projection, so now its
        bias.
        """
        batch, height, width, _ = qkv.shape
        padded_height, padded_width = (
            -(-side // step) * step for side, step in zip((height, width), size, strict=True)
        )
        if (padded_height, padded_width) != (height, width):
            padded = self.qkv.bias.to(qkv.dtype).expand(batch, padded_height, padded_width, -1).clone()
            padded[:, :height, :width] = qkv
            qkv = padded
        cut = qkv.unflatten(-1, (3, self.num_heads, -1)).unflatten(2, (-1, size[1])).unflatten(1, (-1, size[0]))
        return cut.permute(5, 0, 1, 3, 6, 2, 4, 7)

    def _attend(self, queries: Tensor, keys: Tensor, values: Tensor) -> Tensor:
        """Attention within windows (B, rows, columns, heads, h, w, d)."""
        height, width, dim = queries.shape[4:]
        extra = -(dim + height + width) % _MULTIPLE
        # The kernel scales these products too, SAM does not.
        by_row = _relative(self.rel_pos_h, height) / self.scale
        by_column = F.pad(_relative(self.rel_pos_w, width) / self.scale, (0, 0, 0, extra))
        of_rows = torch.einsum("...hwd,hkd->...hwk", queries, by_row)
        of_columns = torch.einsum("...hwd,wkd->...hwk", queries, by_column)
        codes = _codes((height, width), width + extra, keys).expand(*keys.shape[:-1], -1)
        long = torch.cat((queries, of_rows, of_columns), dim=-1)
        added = long.shape[-1] - dim if _wants_one_width(keys) else 0
        attended = F.scaled_dot_product_attention(
            _flat(long), _flat(torch.cat((keys, codes), dim=-1)), _flat(F.pad(values, (0, added))), scale=self.scale
        )
        return attended[..., :dim].unflatten(2, (height, width)).unflatten(0, queries.shape[:3])


def _wants_one_width(keys: Tensor) -> bool:
    """Whether values must be as wide as keys for a fused kernel.

    Flash attention asks for it, the CPU's and, in half precision, CUDA's (up to 256 elements: SAM's 64 x 64 cells
    lengthen heads of 64 or 80 by 128). The zeros are multiplied too; on the CPU attention without flash, over matrices
    of all pairs, took four times as long. In float32 CUDA has the memory-efficient kernel alone, which takes any width.
    """
    return keys.is_cpu or keys.dtype != torch.float32


def _flat(windows: Tensor) -> Tensor:
    """(B, rows, columns, heads, h, w, d) to (B * rows * columns, heads, h * w, d)."""
    return windows.flatten(4, 5).flatten(0, 2)


def _relative(table: Tensor, size: int) -> Tensor:
    """Positions relative to each other along one side: a table (2 * l - 1, d) to (size queries, size keys, d).

    The table's rows go from the farthest key after the query to the farthest before it; one of another length is
    interpolated.
    """
    length = 2 * size - 1
    if len(table) != length:
        table = F.interpolate(table.T[None], size=length, mode="linear")[0].T
    places = torch.arange(size, device=table.device)
    return table[places[:, None] - places + size - 1]


def _codes(size: Size, columns: int, like: Tensor) -> Tensor:
    """One-hot codes of row and column of every cell (h, w), the columns' filled up with zeros: (h, w, h + columns)."""
    height, width = size
    of_rows, of_columns = (
        torch.eye(*shape, device=like.device, dtype=like.dtype) for shape in ((height, height), (width, columns))
    )
    return torch.cat((of_rows[:, None].expand(-1, width, -1), of_columns.expand(height, -1, -1)), dim=-1)
