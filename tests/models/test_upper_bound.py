"""Upper bounds: fusions by hand, teachers that stay as they are, states without them."""

import pytest
import torch
import torch.nn.functional as F
from timm.models.vision_transformer import VisionTransformer

from sakbench.backbones.encoder import Encoder
from sakbench.errors import UserError
from sakbench.models import parameter_count, set_trainable
from sakbench.models.upper_bound import UpperBound

TASKS = {"semseg": 5, "normals": 3}


def encoder(dim: int = 16, patch: int = 8, **options) -> Encoder:
    return Encoder(
        VisionTransformer(img_size=32, patch_size=patch, embed_dim=dim, depth=4, num_heads=2, num_classes=0, **options)
    )


def bound(fuse: str, *, wide: int = 16, **options) -> UpperBound:
    """A stem on 4 x 4 patches with a teacher on 8 x 8 and another (of width `wide`) on 4 x 4."""
    torch.manual_seed(0)
    teachers = {"fine": encoder(patch=4, proj_drop_rate=0.5), "coarse": encoder(wide)}
    return UpperBound(encoder(), teachers, TASKS, fuse=fuse, **options)


@pytest.fixture
def images():
    return torch.randn(2, 3, 32, 32, generator=torch.Generator().manual_seed(1))


def by_hand(model: UpperBound, images: torch.Tensor) -> list[list[torch.Tensor]]:
    """Per level the stem's map and the teachers', resized by torch."""
    fine = [F.interpolate(m, (4, 4), mode="bilinear") for m in model.teachers["fine"](images)]
    return [list(level) for level in zip(model.stem(images), fine, model.teachers["coarse"](images), strict=True)]


def heads_on(model: UpperBound, maps: dict[str, list[torch.Tensor]]) -> dict[str, torch.Tensor]:
    return {task: model.heads[task](maps[task], (32, 32)) for task in TASKS}


def test_addition_is_the_sum_and_concatenation_is_side_by_side(images):
    model = bound("addition").eval()
    maps = [sum(level) for level in by_hand(model, images)]
    torch.testing.assert_close(model(images), heads_on(model, dict.fromkeys(TASKS, maps)))
    model = bound("concat", wide=24).eval()
    maps = [torch.cat(level, dim=1) for level in by_hand(model, images)]
    assert maps[0].shape == (2, 16 + 16 + 24, 4, 4)
    torch.testing.assert_close(model(images), heads_on(model, dict.fromkeys(TASKS, maps)))
    assert not list(model.alignments.parameters())


def test_routers_weigh_the_experts_for_each_task(images):
    model = bound("mor").eval()
    for parameter in model.routers.parameters():
        torch.nn.init.normal_(parameter, std=0.5)
    gates = model.gates(images)
    assert gates.shape == (4, 2, 2, 3)
    torch.testing.assert_close(gates.sum(dim=-1), torch.ones(4, 2, 2))
    levels = by_hand(model, images)
    maps = {
        task: [
            torch.einsum("be,ebdhw->bdhw", gates[index][:, t], torch.stack(level)) for index, level in enumerate(levels)
        ]
        for t, task in enumerate(TASKS)
    }
    torch.testing.assert_close(model(images), heads_on(model, maps))
    # the routers see the stem alone
    stem = levels[2][0].flatten(2).transpose(1, 2)
    torch.testing.assert_close(gates[2], model.routers[2](stem, noisy=False))
    model.train()
    assert not torch.equal(model(images)["semseg"], model(images)["semseg"])  # noise
    with pytest.raises(UserError, match="addition has no routers"):
        bound("addition").gates(images)


@pytest.mark.parametrize("fuse", ["addition", "mor"])
def test_a_wider_teacher_is_aligned(fuse, images):
    model = bound(fuse, wide=24).eval()
    assert sum(p.numel() for p in model.alignments.parameters()) == 4 * (24 + 1) * 16
    if fuse == "addition":
        levels = by_hand(model, images)
        maps = [
            stem + fine + model.alignments[index].linears[1](coarse)
            for index, (stem, fine, coarse) in enumerate(levels)
        ]
        torch.testing.assert_close(model(images), heads_on(model, dict.fromkeys(TASKS, maps)))


@pytest.mark.parametrize("fuse", ["addition", "concat", "mor"])
@pytest.mark.parametrize("trainable", ["full", "freeze"])
def test_teachers_stay_as_they_are_and_all_else_learns(fuse, trainable, images):
    model = bound(fuse, wide=24)
    set_trainable(model, trainable)
    model.train()
    assert model.stem.training and not any(part.training for part in model.teachers.modules())
    experts = model.represent(images)
    again = model.represent(images)
    assert all(torch.equal(a, b) for a, b in zip(experts[3][1:], again[3][1:], strict=True))  # no dropout
    sum(logits.square().mean() for logits in model.predict(experts, (32, 32)).values()).backward()
    without = {name for name, parameter in model.named_parameters() if parameter.grad is None}
    frozen = ("teachers.",) if trainable == "full" else ("teachers.", "stem.")
    assert without == {name for name, _ in model.named_parameters() if name.startswith(frozen)}
    trained = sum(p.numel() for name, p in model.named_parameters() if name not in without)
    assert parameter_count(model, trainable=True) == trained
    assert parameter_count(model) == sum(p.numel() for p in model.parameters())  # the teachers count


def test_a_state_is_without_the_teachers_and_leaves_them(images):
    model, other = bound("mor").eval(), bound("mor").eval()
    for parameter in model.parameters():
        torch.nn.init.normal_(parameter, std=0.2)
    state = model.state_dict()
    assert not any("teachers" in name for name in state)
    assert {name.split(".")[0] for name in state} == {"stem", "routers", "heads"}
    before = other.teachers["fine"].vit.cls_token.clone()
    other.load_state_dict(state)  # strict
    assert torch.equal(other.teachers["fine"].vit.cls_token, before)
    other.teachers.load_state_dict(model.teachers.state_dict())
    torch.testing.assert_close(other(images), model(images))
    del state["routers.0.gate_bias"]
    with pytest.raises(RuntimeError, match=r"Missing key.*routers\.0\.gate_bias"):
        other.load_state_dict(state)


def test_another_decoder_and_another_output_size(images):
    model = bound("mor", decoder="mlore").eval()
    assert model(images, (64, 48))["normals"].shape == (2, 3, 64, 48)


def test_impossible_upper_bounds_are_refused():
    with pytest.raises(UserError, match="did you mean addition"):
        bound("additon")
    with pytest.raises(UserError, match="at least one teacher"):
        UpperBound(encoder(), {}, TASKS)
