"""timm's SAM against itself with folded relative positions."""

from copy import deepcopy
from typing import Any

import pytest
import timm
import torch
from timm.models.vision_transformer_sam import VisionTransformerSAM
from torch import nn
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils._python_dispatch import TorchDispatchMode

from sakbench import backbones
from sakbench.backbones import sam


def small(**options: Any) -> VisionTransformerSAM:
    """A grid of 6 x 8 cells with windows of 5, heads of 12; every parameter random, timm's relative positions are 0."""
    torch.manual_seed(0)
    settings: dict[str, Any] = {
        "img_size": (48, 64),
        "patch_size": 8,
        "embed_dim": 24,
        "depth": 4,
        "num_heads": 2,
        "num_classes": 0,
        "use_rel_pos": True,
        "window_size": 5,
        "global_attn_indexes": (1, 3),
    }
    vit = VisionTransformerSAM(**(settings | options))
    with torch.no_grad():
        for parameter in vit.parameters():
            parameter.normal_(std=0.3)
    return vit.eval()


def folded(vit: VisionTransformerSAM) -> VisionTransformerSAM:
    other = deepcopy(vit)
    sam.fold(other)
    return other


def levels_and_gradients(vit: VisionTransformerSAM, images: torch.Tensor) -> dict[str, torch.Tensor]:
    vit.zero_grad()
    images = images.clone().requires_grad_()
    neck, levels = vit.forward_intermediates(images)
    weights = torch.linspace(-1, 1, levels[0].numel(), dtype=images.dtype).view_as(levels[0])
    (sum((level * weights).sum() for level in levels) + neck.square().sum()).backward()
    gradients = {name: parameter.grad for name, parameter in vit.named_parameters()}
    return {f"level {i}": level for i, level in enumerate(levels)} | gradients | {"images": images.grad}


@pytest.mark.parametrize("one_width", [True, False], ids=["flash attention", "float32 on CUDA"])
@pytest.mark.parametrize(
    "size",
    [
        (48, 64),  # padded both ways
        (40, 80),  # whole windows; tables of another length for the global blocks
        (80, 80),  # four windows
        (16, 24),  # less than a window
        (40, 72),  # padded in one direction
    ],
)
def test_the_same_levels_and_gradients(size, one_width, monkeypatch):
    if not one_width:
        monkeypatch.setattr(sam, "_wants_one_width", lambda keys: False)
    vit, images = small().double(), torch.randn(2, 3, *size, dtype=torch.float64)
    expected, ours = levels_and_gradients(vit, images), levels_and_gradients(folded(vit), images)
    assert ours.keys() == expected.keys()
    for name, value in expected.items():
        assert value.abs().max() > 1e-3, name
        torch.testing.assert_close(ours[name], value, rtol=1e-9, atol=1e-9, msg=lambda m, name=name: f"{name}: {m}")


class Largest(TorchDispatchMode):
    """The elements of the largest tensor that any operator makes, views of others (expanded ones) aside."""

    elements = 0

    def __torch_dispatch__(self, operator, types, args=(), kwargs=None):
        made = operator(*args, **(kwargs or {}))
        for one in made if isinstance(made, tuple | list) else (made,):
            if isinstance(one, torch.Tensor):
                self.elements = max(self.elements, one.untyped_storage().nbytes() // one.element_size())
        return made


@pytest.mark.parametrize("half", [False, True])
def test_fused_kernels_take_it_and_no_tensor_of_all_pairs_is_made(half):
    vit, images, pairs = small(img_size=192), torch.randn(1, 3, 192, 192), 2 * 576 * 576
    ours = folded(vit)
    in_half = torch.autocast("cpu", torch.bfloat16, enabled=half)
    with Largest() as largest, in_half, torch.no_grad():
        expected = vit.forward_intermediates(images, intermediates_only=True)
    assert largest.elements >= pairs
    with Largest() as largest, in_half, sdpa_kernel(SDPBackend.FLASH_ATTENTION):
        levels = ours.forward_intermediates(images, intermediates_only=True)
        sum(level.float().square().mean() for level in levels).backward()
    assert 0 < largest.elements < pairs / 4
    error = (levels[-1] - expected[-1]).norm() / expected[-1].norm()
    assert error < (0.05 if half else 1e-5)


@pytest.mark.parametrize("name", timm.list_models("samvit_*"))
def test_every_sam_of_timm_keeps_its_parameters(name):
    with torch.device("meta"):
        ours = backbones.create(f"timm/{name}", image_size=224, pretrained=False)
        theirs = timm.create_model(name, img_size=224, num_classes=0)
        theirs.prune_intermediate_layers(prune_norm=True)
        assert [level.shape[2:] for level in ours(torch.empty(1, 3, 100, 200))] == [(7, 14)] * 4
    assert all(isinstance(block.attn, sam.FoldedAttention) for block in ours.vit.blocks)
    expected = [(key, value.shape) for key, value in theirs.state_dict().items()]
    assert [(key, value.shape) for key, value in ours.vit.state_dict().items()] == expected


def test_a_backbone_of_the_zoo_is_folded_and_takes_timms_weights():
    images = torch.randn(1, 3, 40, 64)
    vit = timm.create_model("samvit_base_patch16", img_size=64, num_classes=0).eval()
    for name, parameter in vit.named_parameters():
        if "rel_pos" in name:
            nn.init.normal_(parameter)
    encoder = backbones.create("samvit_base_patch16.sa1b", image_size=64, pretrained=False).eval()
    left = encoder.vit.load_state_dict(vit.state_dict(), strict=False)
    assert not left.missing_keys and {key.split(".")[0] for key in left.unexpected_keys} == {"neck"}
    with torch.inference_mode():
        padded = torch.cat((images, torch.zeros(1, 3, 24, 64)), dim=2)
        expected = vit.forward_intermediates(padded, indices=[2, 5, 8, 11], intermediates_only=True)
        for level, reference in zip(encoder(images), expected, strict=True):
            torch.testing.assert_close(level, reference[:, :, :3], rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize(
    "options",
    [
        {"use_rel_pos": False},
        {"use_rel_pos": False, "use_rope": True},
        {"qk_norm": True},
        {"qkv_bias": False},
        {"attn_drop_rate": 0.1},
        {"proj_drop_rate": 0.1},
    ],
)
def test_what_no_sam_has_stays_timms(options):
    vit = small(**options)
    for block, other in zip(vit.blocks, folded(vit).blocks, strict=True):
        assert type(other.attn) is type(block.attn)
        assert other.window_size == block.window_size
