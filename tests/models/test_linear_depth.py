"""DINOv2's linear depth heads: against the formula written out, and what they refuse."""

import pytest
import torch
import torch.nn.functional as F

from sakbench.errors import UserError
from sakbench.models.decoders import make
from sakbench.models.linear_depth import BINS, FARTHEST, NEAREST


@pytest.mark.parametrize("decoder", ["lin1", "lin4"])
def test_the_head_is_a_convolution_of_enlarged_levels(decoder):
    torch.manual_seed(0)
    head = make(decoder, (6, 6, 6, 6), {"depth": 1})
    levels = [torch.randn(2, 6, 3, 4) for _ in range(4)]
    chosen = levels if decoder == "lin4" else levels[-1:]
    enlarged = torch.cat([F.interpolate(level, scale_factor=4, mode="bilinear") for level in chosen], dim=1)
    values = F.conv2d(enlarged, head.linear.weight[..., None, None], head.linear.bias).relu() + 0.1
    shares = values / values.sum(1, keepdim=True)
    centres = torch.linspace(NEAREST, FARTHEST, BINS).view(-1, 1, 1)
    expected = F.interpolate((shares * centres).sum(1, keepdim=True), size=(30, 40), mode="bilinear")
    depth = head({"depth": levels}, (30, 40))["depth"]
    torch.testing.assert_close(depth, expected)
    assert depth.min() >= NEAREST
    assert depth.max() <= FARTHEST


def test_levels_of_several_sizes_are_brought_to_the_first():
    torch.manual_seed(0)
    head = make("lin4", (2, 3, 4, 5), {"depth": 1})
    sizes = ((8, 8), (4, 4), (2, 2), (1, 1))
    levels = [torch.randn(1, width, *size) for width, size in zip((2, 3, 4, 5), sizes, strict=True)]
    enlarged = torch.cat([F.interpolate(level, size=(32, 32), mode="bilinear") for level in levels], dim=1)
    values = F.conv2d(enlarged, head.linear.weight[..., None, None], head.linear.bias).relu() + 0.1
    expected = torch.einsum("bkhw,k->bhw", values / values.sum(1, keepdim=True), head.centres)
    torch.testing.assert_close(head({"depth": levels}, (32, 32))["depth"][:, 0], expected)


def test_large_batches_are_as_small_ones():
    torch.manual_seed(0)
    head = make("lin1", (6, 6, 6, 6), {"depth": 1})
    levels = [torch.randn(5, 6, 16, 16) for _ in range(4)]
    together = head({"depth": levels}, (64, 64))["depth"]
    apart = torch.cat([head({"depth": [level[[i]] for level in levels]}, (64, 64))["depth"] for i in range(5)])
    torch.testing.assert_close(together, apart)


def test_they_are_for_depth_alone():
    with pytest.raises(UserError, match="for depth alone, not for semseg, depth"):
        make("lin1", (4,) * 4, {"semseg": 5, "depth": 1})
