"""The package's student, losses and steps against the plain formulation, gradients included."""

import pytest
import torch
from timm.models.vision_transformer import VisionTransformer
from torch import nn

from sakbench.backbones.encoder import Encoder
from sakbench.bench.plain import PlainSAK, plain_distillation
from sakbench.models import SAK, reference
from sakbench.models.distillation import teacher_loss

TASKS = {"semseg": 5, "saliency": 2, "normals": 3, "boundary": 1}
TEACHERS = {"DINOv2": 20, "CLIP": 16, "SAM": 24}
GRIDS = {"DINOv2": (4, 6), "CLIP": (4, 6), "SAM": (8, 12)}


def student_of(image_size: tuple[int, int]) -> SAK:
    """Away from its initialisation, where many terms are zero."""
    torch.manual_seed(0)
    stem = Encoder(VisionTransformer(img_size=image_size, patch_size=8, embed_dim=16, depth=8, num_heads=2))
    student = SAK(stem, TEACHERS, TASKS)
    for parameter in student.parameters():
        nn.init.normal_(parameter, std=0.3)
    return student.double()


@pytest.mark.parametrize("training", [True, False])
def test_student_losses_and_gradients_are_those_of_the_plain_formulation(training, monkeypatch):
    for module in ("sakbench.models.router", "sakbench.bench.plain"):  # each draws its noise in another order
        monkeypatch.setattr(f"{module}.standard_normal", lambda *shape, like: torch.zeros(shape, dtype=like.dtype))
    ours = student_of((32, 48)).train(training)
    plain = PlainSAK(ours).double().train(training)
    images = torch.randn(3, 3, 32, 48, dtype=torch.float64)
    features = {
        name: [3 * torch.randn(3, width, *GRIDS[name], dtype=torch.float64) for _ in range(4)]
        for name, width in TEACHERS.items()
    }
    weights = {name: torch.randn(3, channels, 32, 48, dtype=torch.float64) for name, channels in TASKS.items()}

    def total(logits, maps, loss):
        tasks = sum((logits[name] * weight).sum() for name, weight in weights.items())
        return tasks + 100 * sum(loss(maps[name], features[name]) for name in TEACHERS)

    experts = ours.represent(images)
    logits, maps = ours.predict(experts, (32, 48)), ours.student_maps(experts)
    fused, aligned = plain.backbone(images, align=True)
    expected_logits = plain.decode(fused, (32, 48))
    expected_maps = {plain.names[teacher]: maps for teacher, maps in aligned.items()}
    torch.testing.assert_close(logits, expected_logits, rtol=1e-10, atol=1e-10)
    torch.testing.assert_close(maps, expected_maps, rtol=1e-10, atol=1e-10)
    total(logits, maps, teacher_loss).backward()
    total(expected_logits, expected_maps, plain_distillation).backward()
    gradients = {name: parameter.grad for name, parameter in ours.named_parameters()}
    for name, parameter in ours.named_parameters():
        parameter.data = gradients[name]  # so that the gradients take the authors' names as parameters do
    theirs = {name: parameter.grad for name, parameter in plain.named_parameters()}
    named = reference.state_dict(ours)
    assert theirs.keys() <= named.keys()
    for name, gradient in theirs.items():
        torch.testing.assert_close(named[name], gradient.view_as(named[name]), rtol=1e-8, atol=1e-8, msg=name)
    if training:
        statistics = {name: buffer for name, buffer in plain.named_buffers() if "running" in name}
        assert len(statistics) == 2 * len(TASKS)
        torch.testing.assert_close({name: named[name] for name in statistics}, statistics, rtol=1e-10, atol=1e-12)


def test_noise_of_the_plain_routers_has_the_same_spread():
    ours = student_of((32, 32)).train()
    plain = PlainSAK(ours).double().train()
    tokens = torch.randn(2, 16, 16, dtype=torch.float64)
    stem = tokens.transpose(1, 2).unflatten(2, (4, 4))
    # experts that are one-hot in the channels make the fused map the gates themselves
    experts = torch.eye(4, 16, dtype=torch.float64)[None, :, :, None, None].expand(2, -1, -1, 4, 4)
    router = plain.backbone.mor["1_sal"]
    torch.manual_seed(1)
    theirs = torch.stack([router(stem, experts)[:, :4] for _ in range(1500)])
    mine = torch.stack([ours.routers[0](tokens, noisy=True)[:, :, 1] for _ in range(1500)])
    mine = mine.transpose(2, 3).unflatten(3, (4, 4))
    torch.testing.assert_close(mine.mean(0), theirs.mean(0), rtol=0, atol=0.06)
    torch.testing.assert_close(mine.std(0), theirs.std(0), rtol=0, atol=0.06)
    for draws in (mine, theirs):  # each patch draws its own: two patches of a draw have nothing to do with each other
        here, there = draws[:, 0, 1, 0, 0], draws[:, 0, 1, 2, 3]
        assert torch.corrcoef(torch.stack([here, there]))[0, 1].abs() < 0.1
