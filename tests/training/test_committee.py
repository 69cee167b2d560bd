import torch
from timm.models.vision_transformer import VisionTransformer

from sakbench.backbones.encoder import Encoder
from sakbench.training.committee import Committee


def teacher() -> Encoder:
    torch.manual_seed(0)
    return Encoder(VisionTransformer(img_size=32, patch_size=8, embed_dim=32, depth=4, num_heads=2)).eval()


def test_teachers_in_bf16_see_what_autocast_makes_of_them():
    images = torch.randn(2, 3, 32, 32)
    with torch.no_grad():
        exact = teacher()(images)
        with torch.autocast("cpu", torch.bfloat16):
            expected = teacher()(images)
    committee = Committee({"DINOv2": teacher()}, torch.device("cpu"), "bf16")
    features = committee({"image": images})["features/DINOv2"]
    assert not any(level.requires_grad for level in features)
    for level, rounded, full in zip(features, expected, exact, strict=True):
        torch.testing.assert_close(level, rounded, rtol=0, atol=0)
        assert not torch.equal(level.float(), full)
        torch.testing.assert_close(level.float(), full, rtol=0.05, atol=0.05)


def test_teachers_in_fp32_are_exact():
    images = torch.randn(2, 3, 32, 32)
    with torch.no_grad():
        expected = teacher()(images)
    features = Committee({"CLIP": teacher()}, torch.device("cpu"))({"image": images})["features/CLIP"]
    torch.testing.assert_close(features, expected, rtol=0, atol=0)
