import pytest
import torch
import torch.nn.functional as F
from timm.models.vision_transformer import VisionTransformer
from torch import nn

from sakbench import backbones
from sakbench.backbones.encoder import Encoder, resize_position_embedding
from sakbench.errors import UserError
from sakbench.models import SAK, PlainStudent, carry_over, parameter_count, set_trainable

PASCAL = {"semseg": 21, "parsing": 7, "saliency": 2, "normals": 3, "boundary": 1}
NYUD = {"semseg": 40, "depth": 1, "normals": 3, "boundary": 1}
TASKS = {"semseg": 5, "normals": 3}
TEACHERS = {"dinov2": 20, "clip": 16, "sam": 24}


def tiny_stem(image_size: int | tuple[int, int] = 32) -> Encoder:
    """Eight blocks of width 16 on patches of 8 pixels."""
    return Encoder(VisionTransformer(img_size=image_size, patch_size=8, embed_dim=16, depth=8, num_heads=2))


@pytest.fixture
def student() -> SAK:
    """A small student away from its initialisation, where many terms are zero."""
    torch.manual_seed(0)
    student = SAK(tiny_stem(), TEACHERS, TASKS)
    for parameter in student.parameters():
        nn.init.normal_(parameter, std=0.3)
    return student.eval()


@pytest.fixture
def images():
    return torch.randn(3, 3, 32, 32, generator=torch.Generator().manual_seed(1))


# Millions, as the paper counts them: encoder, heads, single-task, multi-task, adapter paths, norms, routers, SAK, and
# what its Freeze row trains
ACCOUNTS = {
    ("pascal", "small"): (21.983, 7.394, 117.31, 29.38, 2.894, 0.009, 1.517, 33.797, 8.91),
    ("pascal", "base"): (86.433, 29.533, 461.70, 115.97, 11.539, 0.018, 5.983, 133.506, 35.516),
    ("pascal", "large"): (304.147, 52.484, 1573.22, 356.63, 39.418, 0.025, 10.599, 406.672, 63.08),
    ("nyud", "small"): (21.977, 5.922, 93.83, 27.90, 2.894, 0.009, 1.214, 32.015, 7.14),
    ("nyud", "base"): (86.421, 23.640, 369.32, 110.06, 11.539, 0.018, 4.786, 126.404, 28.43),
    ("nyud", "large"): (304.131, 42.006, 1258.53, 346.14, 39.418, 0.025, 8.479, 394.058, 50.48),
}


@pytest.mark.parametrize(("dataset", "size"), ACCOUNTS)
def test_parameters_are_the_papers(dataset, size):
    tasks, image_size = {"pascal": (PASCAL, (512, 512)), "nyud": (NYUD, (448, 576))}[dataset]
    with torch.device("meta"):
        stem = backbones.create(f"vit_{size}_patch16_384.augreg_in21k_ft_in1k", image_size=image_size, pretrained=False)
        sak = SAK(stem, {"dinov2": 1024, "clip": 1024, "sam": 1024}, tasks)
        multi_task = PlainStudent(stem, tasks)
        single_tasks = [PlainStudent(stem, {task: channels}) for task, channels in tasks.items()]
    counts = [
        parameter_count(stem),
        parameter_count(sak.heads),
        sum(parameter_count(model) for model in single_tasks),
        parameter_count(multi_task),
        parameter_count(sak.paths.adapters),
        parameter_count(sak.paths.norms),
        parameter_count(sak.routers),
        parameter_count(sak),
    ]
    set_trainable(sak, "freeze")
    counts.append(parameter_count(sak, trainable=True))
    for count, published in zip(counts, ACCOUNTS[dataset, size], strict=True):
        digits = len(str(published).split(".")[1])
        assert count / 1e6 == pytest.approx(published, abs=0.5001 * 10**-digits)


def test_one_adapter_and_one_path_at_width_768():
    with torch.device("meta"):
        stem = backbones.create("vit_base_patch16_384.augreg_in21k_ft_in1k", pretrained=False)
        paths = SAK(stem, {"dinov2": 1024}).paths
    assert parameter_count(paths.adapters[0]) == 295_873
    assert parameter_count(paths.adapters) == 13 * 295_873


def naive_experts(student: SAK, images: torch.Tensor) -> list[torch.Tensor]:
    """Eq. 1 to 3, one teacher, block and adapter at a time."""
    vit, paths = student.stem.vit, student.paths
    stem = [vit._pos_embed(vit.patch_embed(images))]
    for block in vit.blocks:
        stem.append(block(stem[-1]))

    def adapter(level, teacher, x):
        a = paths.adapters[level]
        hidden = F.gelu(F.linear(x, a.down_weight[teacher].T, a.down_bias[teacher, 0]))
        return a.scale[teacher].item() * F.linear(hidden, a.up_weight[teacher].T, a.up_bias[teacher, 0]) + x

    experts = [[stem[level][:, 1:]] for level in (2, 4, 6, 8)]
    for teacher in range(len(student.teachers)):
        path = adapter(0, teacher, stem[0])
        for level in range(1, 9):
            path = adapter(level, teacher, path + stem[level])
            if level % 2 == 0:
                norm = paths.norms[level // 2 - 1]
                weight, bias = norm.weight[teacher].flatten(), norm.bias[teacher].flatten()
                experts[level // 2 - 1].append(F.layer_norm(path[:, 1:], (16,), weight, bias, eps=1e-5))
    return [torch.stack(level) for level in experts]


def naive_routing(student: SAK, level: int, task: int, tokens: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """One task's router as its own MLP: logits and raw noise parameters, each (B, N+1)."""
    r = student.routers[level]
    hidden = F.linear(tokens, r.hidden_weight[task], r.hidden_bias[task])
    hidden = F.gelu(F.layer_norm(hidden, (8,), r.norm_weight[task], r.norm_bias[task], eps=1e-5))
    return F.linear(hidden, r.gate_weight[task], r.gate_bias[task]).mean(dim=1).split(4, dim=1)


def decode(student: SAK, task: str, tokens: list[torch.Tensor]) -> torch.Tensor:
    return student.heads[task]([level.transpose(1, 2).reshape(3, 16, 4, 4) for level in tokens], (32, 32))


def test_experts_follow_equations_2_and_3(student, images):
    for level, expected in zip(student.represent(images), naive_experts(student, images), strict=True):
        assert level.shape == (4, 3, 16, 16)
        torch.testing.assert_close(level, expected)


def test_stacked_routers_are_separate_mlps_and_gates_sum_to_one(student, images):
    gates = student.gates(images)
    assert gates.shape == (4, 3, 2, 4)
    torch.testing.assert_close(gates.sum(dim=-1), torch.ones(4, 3, 2))
    for level, experts in enumerate(naive_experts(student, images)):
        for task in range(2):
            logits, _ = naive_routing(student, level, task, experts[0])
            torch.testing.assert_close(gates[level, :, task], logits.softmax(dim=-1))


def test_evaluation_fuses_by_the_global_gates(student, images):
    experts, gates = naive_experts(student, images), student.gates(images)
    logits = student(images)
    for index, (task, channels) in enumerate(TASKS.items()):
        fused = [torch.einsum("be,ebnd->bnd", gates[level][:, index], experts[level]) for level in range(4)]
        assert logits[task].shape == (3, channels, 32, 32)
        torch.testing.assert_close(logits[task], decode(student, task, fused))
    assert student(images, (64, 48))["normals"].shape == (3, 3, 64, 48)


@pytest.mark.parametrize("noise", ["position", "global"])
def test_training_noise_has_the_routers_own_spread(student, images, noise):
    router, tokens = student.routers[0], student.represent(images)[0][0].detach()
    router.noise = noise
    logits, raw = naive_routing(student, 0, 1, tokens)
    spread = F.softplus(raw) + 1e-2
    torch.manual_seed(3)
    draws = torch.stack([router(tokens, noisy=True) for _ in range(2000)]).detach()
    torch.testing.assert_close(draws.sum(dim=-1), torch.ones(draws.shape[:-1]))
    if noise == "position":
        assert draws.shape == (2000, 3, 16, 2, 4)
        assert draws[0, :, 0].ne(draws[0, :, 1]).all()  # each patch draws its own
        draws = draws[:, :, 5]
    else:
        assert draws.shape == (2000, 3, 2, 4)
    # log-ratios of two gates are normal: mean the difference of logits, variance the sum of variances
    ratio = draws[:, :, 1, 0].log() - draws[:, :, 1, 1].log()
    deviation = (spread[:, 0] ** 2 + spread[:, 1] ** 2).sqrt()
    assert ((ratio.mean(dim=0) - (logits[:, 0] - logits[:, 1])).abs() < 5 * deviation / 2000**0.5).all()
    torch.testing.assert_close(ratio.std(dim=0), deviation, rtol=0.08, atol=0)


def test_noise_is_for_training_only(student, images):
    def predict():
        return student.predict(experts, (32, 32))["semseg"]

    experts = student.represent(images)
    assert torch.equal(predict(), predict())
    student.train()
    assert not torch.allclose(predict(), predict())
    assert torch.equal(student.gates(images), student.gates(images))


def test_without_routers_every_task_gets_stem_plus_paths(images):
    torch.manual_seed(0)
    student = SAK(tiny_stem(), TEACHERS, TASKS, routers=False).eval()
    nn.init.normal_(student.paths.norms[0].weight)
    logits = student(images)
    fused = []
    for level in naive_experts(student, images):
        stem, first, second, third = level
        fused.append(stem + first + second + third)
    for task in TASKS:
        torch.testing.assert_close(logits[task], decode(student, task, fused))
    with pytest.raises(UserError, match="no routers"):
        student.gates(images)


def test_without_adapter_paths_the_stem_faces_every_teacher_through_a_linear(images):
    torch.manual_seed(0)
    student = SAK(tiny_stem(), TEACHERS, TASKS, adapter_paths=False, routers=False).eval()
    levels = student.stem(images)
    maps = student.student_maps(student.represent(images))
    for index, (teacher, width) in enumerate(TEACHERS.items()):
        for level in range(4):
            linear = student.aligners[index].levels[level]  # of equal width (clip's 16) too
            expected = linear(levels[level].permute(0, 2, 3, 1)).permute(0, 3, 1, 2)
            assert expected.shape[1] == width
            torch.testing.assert_close(maps[teacher][level], expected)
    logits = student(images)
    for task in TASKS:
        torch.testing.assert_close(logits[task], student.heads[task](levels, (32, 32)))


def test_student_maps_are_aligned_paths_where_widths_differ(student, images):
    experts = student.represent(images)
    maps = student.student_maps(experts)
    for level in range(4):
        as_maps = experts[level].transpose(2, 3).reshape(4, 3, 16, 4, 4)
        torch.testing.assert_close(maps["clip"][level], as_maps[2])  # as wide as the student: no aligner
        linear = student.aligners[2].levels[level]
        expected = linear(as_maps[3].permute(0, 2, 3, 1)).permute(0, 3, 1, 2)
        torch.testing.assert_close(maps["sam"][level], expected)
    aligners = sum(parameter.numel() for parameter in student.aligners.parameters())
    assert aligners == 4 * ((16 + 1) * 20 + (16 + 1) * 24)
    assert parameter_count(student) == sum(p.numel() for p in student.parameters()) - aligners


def test_initialisation_is_the_references():
    torch.manual_seed(0)
    student = SAK(tiny_stem(), TEACHERS, TASKS)
    for part in (student.paths, student.aligners, student.routers):
        for name, parameter in part.named_parameters():
            if name.endswith("bias"):
                assert not parameter.any()
            elif name.endswith("scale"):
                assert parameter.eq(1).all()
            else:
                assert 0.01 < parameter.std() < 0.03
                assert parameter.abs().max() < 0.1


@pytest.mark.parametrize("model", ["sak", "plain"])
def test_freeze_trains_routers_and_heads_alone(model, images):
    torch.manual_seed(0)
    student = SAK(tiny_stem(), TEACHERS, TASKS) if model == "sak" else PlainStudent(tiny_stem(), TASKS)
    set_trainable(student, "freeze")
    sum(logits.square().sum() for logits in student(images).values()).backward()
    moved = {name.split(".")[0] for name, parameter in student.named_parameters() if parameter.grad is not None}
    assert moved == ({"routers", "heads"} if model == "sak" else {"heads"})
    set_trainable(student, "full")
    assert all(parameter.requires_grad for parameter in student.parameters())
    with pytest.raises(UserError, match="did you mean freeze"):
        set_trainable(student, "freezed")


def test_every_trained_parameter_gets_a_gradient(images):
    torch.manual_seed(0)
    student = SAK(tiny_stem(), TEACHERS, TASKS)
    experts = student.represent(images)
    losses = [logits.square().mean() for logits in student.predict(experts, (32, 32)).values()]
    losses += [level.square().mean() for levels in student.student_maps(experts).values() for level in levels]
    torch.stack(losses).sum().backward()
    assert [name for name, parameter in student.named_parameters() if parameter.grad is None] == []


def test_stage_2_starts_from_stage_1():
    torch.manual_seed(0)
    stage1 = SAK(tiny_stem(32), TEACHERS)
    assert not any(name.startswith(("routers", "heads")) for name in stage1.state_dict())
    student = SAK(tiny_stem((48, 64)), TEACHERS, TASKS)
    fresh = {name: value.clone() for name, value in student.state_dict().items()}
    carry_over(stage1.state_dict(), student)
    for name, value in student.state_dict().items():
        if name.startswith(("routers", "heads")):
            assert torch.equal(value, fresh[name])
        elif name == "stem.vit.pos_embed":
            expected = resize_position_embedding(stage1.stem.vit.pos_embed, (4, 4), (6, 8), prefix=1)
            torch.testing.assert_close(value, expected)
        else:
            assert torch.equal(value, stage1.state_dict()[name])


def test_a_stage_1_state_of_other_teachers_is_refused():
    student = SAK(tiny_stem(), TEACHERS, TASKS)
    fewer = SAK(tiny_stem(), {"dinov2": 20, "clip": 16})
    pathless = SAK(tiny_stem(), TEACHERS, adapter_paths=False, routers=False)
    for other in (fewer.state_dict(), pathless.state_dict(), {}):
        with pytest.raises(UserError, match="stage-1 state does not fit"):
            carry_over(other, student)


def test_impossible_students_are_refused():
    with pytest.raises(UserError, match="at least one teacher"):
        SAK(tiny_stem(), {}, TASKS)
    with pytest.raises(UserError, match="turn routers off"):
        SAK(tiny_stem(), TEACHERS, TASKS, adapter_paths=False)
    with torch.device("meta"):
        sam = backbones.create("samvit_base_patch16.sa1b", pretrained=False)
    with pytest.raises(UserError, match="plain vision transformer"):
        SAK(sam, TEACHERS)


def test_a_probe_on_a_finer_backbone_answers_at_label_resolution():
    probe = PlainStudent(tiny_stem(64), TASKS).eval()
    images = torch.randn(2, 3, 64, 64)
    logits = probe(images, (32, 32))
    maps = probe.encoder(images)
    for task, channels in TASKS.items():
        assert logits[task].shape == (2, channels, 32, 32)
        torch.testing.assert_close(logits[task], probe.heads[task](maps, (32, 32)))
    assert probe(images)["semseg"].shape == (2, 5, 64, 64)
