"""Real architectures at small sizes, random weights: what the levels are, and what happens to the images before."""

import pytest
import timm
import torch
import torch.nn.functional as F
from timm.models.vision_transformer import VisionTransformer

from sakbench import backbones
from sakbench.backbones import inputs
from sakbench.backbones.encoder import Encoder
from sakbench.errors import UserError

PLAIN = {  # its image size is no multiple of the patch where timm rounds down
    "timm/vit_tiny_patch16_224.augreg_in21k": (64, 96),
    "timm/vit_small_patch14_dinov2.lvd142m": (64, 100),
    "timm/vit_small_patch14_reg4_dinov2.lvd142m": (64, 100),
    "timm/vit_small_patch16_dinov3.lvd1689m": (48, 80),
    "timm/eva02_tiny_patch14_224.mim_in22k": (56, 84),
    "timm/xcit_nano_12_p16_224.fb_in1k": (64, 96),
    "timm/naflexvit_base_patch16_siglip.v2_webli": (48, 64),
}
STAGED = {
    "timm/swin_tiny_patch4_window7_224.ms_in1k": (64, 96),
    "timm/convnext_atto.d2_in1k": (64, 96),
    "timm/hiera_tiny_224.mae": (64, 96),
    "timm/sam2_hiera_tiny.fb_r896_2pt1": (128, 160),
    "timm/resnet18.a1_in1k": (64, 96),
}


@pytest.fixture(autouse=True)
def seeded():
    torch.manual_seed(0)


@pytest.mark.parametrize(("name", "size"), (PLAIN | STAGED).items())
def test_four_levels_of_every_architecture_use_every_parameter(name, size):
    encoder = backbones.create(name, image_size=size, pretrained=False)
    levels = encoder(torch.randn(2, 3, *size))
    assert [tuple(level.shape) for level in levels] == [
        (2, dim, size[0] // stride, size[1] // stride)
        for dim, stride in zip(encoder.dims, encoder.strides, strict=True)
    ]
    sum(level.square().mean() for level in levels).backward()
    assert not [key for key, parameter in encoder.named_parameters() if parameter.grad is None]


@pytest.mark.parametrize(
    "name", ["timm/vit_small_patch16_dinov3.lvd1689m", "timm/vit_small_patch14_reg4_dinov2.lvd142m"]
)
def test_levels_are_block_outputs_without_prefix_tokens(name):
    encoder = backbones.create(name, image_size=(64, 96), pretrained=False).eval()
    outputs = []
    for block in encoder.vit.blocks:
        block.register_forward_hook(lambda module, arguments, output: outputs.append(output))
    levels = encoder(torch.randn(1, 3, 64, 96))
    assert encoder.prefix_tokens == 5
    for number, level in zip((3, 6, 9, 12), levels, strict=True):
        torch.testing.assert_close(level.flatten(2).transpose(1, 2), outputs[number - 1][:, 5:])


def test_without_positions_a_shuffle_of_patches_shuffles_the_maps():
    encoder = backbones.create("timm/vit_tiny_patch16_224", image_size=(32, 64), pretrained=False).eval()
    torch.nn.init.zeros_(encoder.vit.pos_embed)
    images = torch.randn(1, 3, 32, 64)
    swapped = torch.cat((images[..., 48:], images[..., 16:48], images[..., :16]), dim=-1)  # first and last column
    for level, other in zip(encoder(images), encoder(swapped), strict=True):
        torch.testing.assert_close(other, level[..., [3, 1, 2, 0]])


@pytest.mark.parametrize("name", ["timm/mvitv2_tiny", "timm/vit_small_patch16_dinov3", "timm/vit_tiny_patch16_224"])
def test_a_size_that_the_architecture_cannot_take_is_refused(name):
    encoder = backbones.create(name, image_size=64, pretrained=False)
    with pytest.raises(UserError, match=rf"{name} cannot see images of 56 x 72"):
        encoder(torch.randn(1, 3, 56, 72))


@pytest.mark.parametrize(
    ("name", "mean", "deviation"),
    [
        ("timm/vit_tiny_patch16_224.augreg_in21k", 0.5, 0.5),
        ("timm/vit_base_patch14_reg1_tipsv2.webli", 0.0, 1.0),
        (
            "vit_base_patch16_clip_224.laion2b",
            (0.48145466, 0.4578275, 0.40821073),
            (0.26862954, 0.26130258, 0.27577711),
        ),
        ("radio_base_patch16.v2.5", (0.48145466, 0.4578275, 0.40821073), (0.26862954, 0.26130258, 0.27577711)),
        ("samvit_base_patch16.sa1b", (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)),
        ("mini_vit_b.clip", (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)),
    ],
)
def test_native_statistics_are_the_models_own(name, mean, deviation):
    with torch.device("meta"):
        encoder = backbones.create(name, pretrained=False, norm="native")
    pixels = torch.rand(1, 3, 2, 2)
    as_column = [torch.tensor(value).expand(3).view(3, 1, 1) for value in (*inputs.IMAGENET, mean, deviation)]
    imagenet, imagenet_deviation, own, own_deviation = as_column
    seen = (pixels - imagenet) / imagenet_deviation
    if encoder.renormalisation is not None:
        seen = encoder.renormalisation(seen)
    torch.testing.assert_close(seen, (pixels - own) / own_deviation)


def test_native_is_the_same_as_renormalising_by_hand_and_leaves_the_state_dict_alone():
    name, pixels = "timm/vit_tiny_patch16_224.augreg_in21k", torch.rand(1, 3, 32, 32)
    torch.manual_seed(0)
    native = backbones.create(name, image_size=32, pretrained=False, norm="native").eval()
    torch.manual_seed(0)
    paper = backbones.create(name, image_size=32, pretrained=False).eval()
    assert native.state_dict().keys() == paper.state_dict().keys()
    mean, deviation = (torch.tensor(values).view(3, 1, 1) for values in inputs.IMAGENET)
    for ours, reference in zip(native((pixels - mean) / deviation), paper((pixels - 0.5) / 0.5), strict=True):
        torch.testing.assert_close(ours, reference, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(native.tokens((pixels - mean) / deviation)[-1], paper.tokens(2 * pixels - 1)[-1])


def test_images_of_the_own_size_are_untouched():
    images = torch.randn(1, 3, 16, 16)
    fitted, content = inputs.fit(images, (16, 16))
    assert fitted is images
    assert content == (16, 16)


@pytest.mark.parametrize(
    ("size", "content", "rows", "columns"),
    [
        ((448, 576), (796, 1024), 50, 64),  # 49.75 rows
        ((512, 512), (1024, 1024), 64, 64),
        ((576, 448), (1024, 796), 64, 50),
        ((427, 640), (683, 1024), 43, 64),  # 42.7 rows
        ((2048, 1024), (1024, 512), 64, 32),  # shrunk
    ],
)
def test_images_fill_the_own_size_and_maps_keep_every_cell_with_content(size, content, rows, columns):
    fitted, told = inputs.fit(torch.ones(1, 3, *size), (1024, 1024))
    assert told == content
    assert fitted.shape == (1, 3, 1024, 1024)
    assert not fitted[..., content[0] :, :].any()
    assert not fitted[..., content[1] :].any()
    torch.testing.assert_close(fitted[..., : content[0], : content[1]], torch.ones(1, 3, *content))
    level = torch.arange(4096.0).view(1, 1, 64, 64)
    assert torch.equal(inputs.crop(level, content, (1024, 1024)), level[..., :rows, :columns])


def test_sam_sees_any_size_at_its_own_and_loses_the_padding():
    name, images = "timm/samvit_base_patch16.sa1b", torch.randn(1, 3, 28, 36)
    cropping = backbones.create(name, image_size=64, pretrained=False).eval()
    stretching = Encoder(cropping.vit, image_size=(64, 64), own_input=True, sam_padding="stretch")
    with torch.inference_mode():
        by_hand = F.interpolate(images, size=(50, 64), mode="bicubic", align_corners=False)  # 28 * 64 / 36 = 49.8
        padded = torch.cat((by_hand, torch.zeros(1, 3, 14, 64)), dim=2)
        expected = stretching.vit.forward_intermediates(
            padded, indices=[2, 5, 8, 11], norm=False, intermediates_only=True
        )
        for whole, kept, reference in zip(stretching(images), cropping(images), expected, strict=True):
            torch.testing.assert_close(whole, reference)
            torch.testing.assert_close(kept, reference[..., :4, :])  # 50 of 64 pixels are 3.1 of 4 rows
            assert kept.shape == (1, 768, 4, 4)


def test_a_hierarchical_model_loses_the_padding_level_by_level():
    vit = timm.create_model("sam2_hiera_tiny", num_classes=0)
    encoder = Encoder(vit, image_size=(128, 128), own_input=True).eval()
    with torch.inference_mode():
        shapes = [tuple(level.shape[2:]) for level in encoder(torch.randn(1, 3, 35, 64))]  # 70 of 128 rows
    assert shapes == [(18, 32), (9, 16), (5, 8), (3, 4)]


def test_dims_need_not_be_named_for_a_module_of_ones_own():
    encoder = Encoder(
        VisionTransformer(img_size=(32, 48), patch_size=16, embed_dim=24, depth=6, num_heads=2, num_classes=0)
    )
    assert (encoder.dims, encoder.levels, encoder.image_size) == ((24,) * 4, (1, 3, 4, 6), (32, 48))
    assert (encoder.grid, encoder.patch_size, encoder.prefix_tokens, encoder.name) == ((2, 3), 16, 1, "")
