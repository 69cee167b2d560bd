"""Counting by hand on small models, and the modules' formulas against the same work written as the paper has it."""

from copy import deepcopy

import pytest
import torch
import torch.nn.functional as F
from timm.models.vision_transformer import VisionTransformer
from timm.models.vision_transformer_sam import VisionTransformerSAM
from torch import nn

from sakbench.accounting.counting import count
from sakbench.accounting.operators import Multiplications
from sakbench.backbones import sam
from sakbench.models.adapter import Adapters, OutputNorms
from sakbench.models.head import Head
from sakbench.models.mlore import MapHead
from sakbench.models.router import Routers


def on_meta(*shape: int) -> torch.Tensor:
    return torch.empty(*shape, device="meta")


def test_layers_by_hand():
    model = nn.Sequential(
        nn.Conv2d(3, 8, kernel_size=3, stride=2, padding=1),  # 5 x 5 positions of 8 channels, 27 products each
        nn.BatchNorm2d(8),  # 4 for each of 200 elements
        nn.GELU(),
        nn.Conv2d(8, 8, kernel_size=3, padding=1, groups=4),  # 200 elements, 18 products each
        nn.Upsample(scale_factor=2, mode="bilinear"),  # 4 neighbours for each of 800 elements
        nn.Softmax(dim=1),
        nn.Flatten(2),
        nn.Linear(100, 7),  # 8 channels to 7: 700 products each
        nn.LayerNorm(7),  # 4 for each of 56
    ).to("meta")
    macs = count(model.eval(), lambda: model(on_meta(1, 3, 10, 10)))
    assert macs.paper == 200 * 27 + 4 * 200 + 200 * 18 + 8 * 700 + 4 * 56
    assert macs.full == macs.executed == macs.paper + 4 * 800
    without = count(model, lambda: model(on_meta(1, 3, 10, 10)), unseen=[model[7]])
    assert without.paper == macs.paper - 8 * 700 and without.full == macs.full
    assert not any(layer._forward_hooks or layer._forward_pre_hooks for layer in model)


@pytest.mark.parametrize("device", ["meta", "cpu"])
def test_a_transformer_by_hand(device):
    n, d, blocks = 1 + 9, 16, 2  # cls counts
    with torch.device(device):
        vit = VisionTransformer(
            img_size=24, patch_size=8, embed_dim=d, depth=blocks, num_heads=2, num_classes=0, init_values=1.0
        )
        image = torch.empty(1, 3, 24, 24)
    vit.norm = nn.Identity()
    macs = count(vit.eval(), lambda: vit.forward_features(image))
    linears, norms = n * 12 * d * d, 2 * 4 * n * d
    assert macs.paper == 9 * d * 192 + blocks * (linears + norms)
    attention, layer_scales = 2 * n * n * d, 2 * n * d
    query_scaling = 2 * n * d if device == "meta" else 0  # part of the fused kernel elsewhere
    assert macs.full == macs.executed == macs.paper + blocks * (attention + layer_scales + query_scaling)


def test_integers_and_calls_outside_a_count_are_free():
    operators = Multiplications()
    with operators:
        torch.arange(6).mul(3)
    assert operators.total == 0
    torch.ones(6).mul(3)
    assert operators.total == 0
    with operators:
        torch.ones(2, 3) @ torch.ones(3, 5)
        torch.ones(7).mul(3)
    assert operators.total == 2 * 3 * 5 + 7


def plain_cost(run) -> int:
    with torch.no_grad(), Multiplications() as operators:
        run()
    return operators.total


def test_a_head_counts_as_the_paper_writes_it():
    head, (h, w), size = Head((6, 8, 8, 8), channels=5).to("meta").eval(), (4, 6), (64, 96)
    maps = [on_meta(2, dim, h, w) for dim in (6, 8, 8, 8)]

    def as_written():
        reduced = [
            linear(level.permute(0, 2, 3, 1)).permute(0, 3, 1, 2)
            for linear, level in zip(head.linears, maps, strict=True)
        ]
        quarter = torch.cat([F.interpolate(level, (16, 24), mode="bilinear") for level in reduced], dim=1)
        F.interpolate(head.classifier(F.gelu(head.norm(head.conv(quarter)))), size, mode="bilinear")

    macs = count(head, lambda: head(maps, size))
    assert macs.full == plain_cost(as_written)
    assert macs.paper == macs.full - 4 * 2 * (8 * 16 * 24 + 5 * 64 * 96)
    assert macs.paper == 2 * (24 * (6 + 3 * 8) * 2 + 384 * (8 * 72 + 4 * 8 + 8 * 5))
    one_map = MapHead(8, channels=5).to("meta").eval()
    assert count(one_map, lambda: one_map(maps[1], size)).paper == macs.paper - 2 * 24 * (6 + 3 * 8) * 2


def test_stacked_modules_count_as_separate_ones():
    tokens = on_meta(3, 2, 10, 16)
    adapters, norms, routers = (
        module.to("meta") for module in (Adapters(3, 16), OutputNorms(3, 16), Routers(5, 4, 16))
    )
    down, up, norm = (layer.to("meta") for layer in (nn.Linear(16, 4), nn.Linear(4, 16), nn.LayerNorm(16)))
    hidden, inner, gate = (layer.to("meta") for layer in (nn.Linear(16, 8), nn.LayerNorm(8), nn.Linear(8, 8)))

    macs = count(adapters, lambda: adapters(tokens))
    linears = 3 * plain_cost(lambda: up(down(tokens[0])))
    assert (macs.paper, macs.full) == (linears, linears + tokens.numel())  # the scale times every element
    macs = count(norms, lambda: norms(tokens))
    assert macs.paper == macs.full == 3 * plain_cost(lambda: norm(tokens[0]))
    macs = count(routers, lambda: routers(tokens[0], noisy=False))
    assert (
        macs.paper
        == macs.full
        == 5 * plain_cost(lambda: gate(inner(hidden(tokens[0])).mean(dim=1, keepdim=True).expand(-1, 10, -1)))
    )
    assert macs.executed < macs.full  # averages before its last linear


def test_sam_counts_as_it_is_written_and_as_it_runs():
    d, heads, images, (h, w), window = 24, 2, 2, (5, 8), 3
    with torch.device("meta"):
        written = VisionTransformerSAM(
            img_size=(8 * h, 8 * w),
            patch_size=8,
            embed_dim=d,
            depth=2,
            num_heads=heads,
            num_classes=0,
            use_rel_pos=True,
            window_size=window,
            global_attn_indexes=(1,),
        ).eval()
        folded = deepcopy(written)
        sam.fold(folded)
        batch = torch.empty(images, 3, 8 * h, 8 * w)
        theirs, ours = (count(vit, lambda vit=vit: vit.forward_features(batch)) for vit in (written, folded))
    coordinates = 2 * (h + w) + 2 * (window + window)  # which timm stretches by 1.0
    assert (ours.paper, ours.full) == (theirs.paper, theirs.full - coordinates)

    def by_hand(windows: int, h: int, w: int, longer: int) -> tuple[int, int]:
        """Attention as written and as run, where heads of 12 become longer."""
        n, tables = h * w, (h * h + w * w) * 12
        tokens = windows * n
        scaling = 2  # of queries and keys, which a kernel would do
        as_written = tokens * (4 * d * d + d * (2 * n + h + w + scaling))
        projections, products = images * 40 * 4 * d * d, tokens * n * heads * (12 + longer + 12)
        return as_written, projections + products + tokens * (d * longer + scaling * heads * (12 + longer)) + tables

    attentions = by_hand(images * 2 * 3, window, window, 24 - 12), by_hand(images, h, w, 32 - 12)  # multiples of 8
    saved = sum(as_written - as_run for as_written, as_run in attentions)
    assert ours.executed == ours.full - saved
