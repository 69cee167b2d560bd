"""PRISM: its mixture against all experts asked at once, codes that reach the router, both stages, saved and loaded."""

import pytest
import torch
from timm.models.vision_transformer import VisionTransformer

from sakbench import tasks
from sakbench.backbones.encoder import Encoder
from sakbench.errors import UserError
from sakbench.experiments.rows import prism, stage1
from sakbench.models import Prism
from sakbench.models.prism import LEAST_ANCHOR, Mixture, begin_with
from sakbench.runs.costs import cost
from sakbench.runs.scales import get
from sakbench.training.evaluation import similarity
from sakbench.training.objectives import PrismObjective

TEACHERS = {"A": 12, "B": 10}
TASKS = {"semseg": 4, "normals": 3}


def student(tasks=TASKS, size=16, **options):
    torch.manual_seed(0)
    vit = VisionTransformer(img_size=size, patch_size=4, embed_dim=12, depth=4, num_heads=2, num_classes=0)
    return Prism(Encoder(vit), TEACHERS, tasks, **{"experts": 5, "active": 2, **options})


def shaken(module):
    for parameter in module.parameters():
        torch.nn.init.normal_(parameter, std=0.2)
    return module.eval()


def test_a_mixture_is_that_of_its_definition():
    torch.manual_seed(0)
    anchor = torch.nn.Sequential(torch.nn.Linear(6, 8), torch.nn.GELU(), torch.nn.Linear(8, 6))
    mixture = shaken(Mixture(anchor, 6, experts=5, active=2))
    tokens, codes = torch.randn(3, 7, 6), torch.randn(3, 6)
    mixed, balance, gates = mixture(tokens, anchor, codes)
    torch.testing.assert_close(gates.sum(-1), torch.ones(3, 7))
    assert ((gates > 0).sum(-1) == 2).all()
    for b in range(3):
        scale, shift = mixture.film(codes[b]).chunk(2)
        for n in range(7):
            token = tokens[b, n]
            seen = token + torch.sigmoid(mixture.influence(token)) * (scale * token + shift)
            logits = mixture.router(seen)
            best = logits.topk(2)
            expected = mixture.shared(token)
            for weight, place in zip(best.values.softmax(0), best.indices, strict=True):
                expected = expected + weight * mixture.experts[place](token)
            share = LEAST_ANCHOR + (1 - LEAST_ANCHOR) * torch.sigmoid(mixture.share(token))
            torch.testing.assert_close(mixed[b, n], share * anchor(token) + (1 - share) * expected)
    load = (gates > 0).float().mean((0, 1))
    assert load.sum() == pytest.approx(2)
    assert 0 < balance <= 5 / 2 * 1.01


def test_a_fresh_mixture_does_not_heed_its_code_and_a_trained_one_does():
    model = student()
    images = torch.randn(2, 3, 16, 16)
    with torch.no_grad():
        same = model.eval().predict(model.represent(images), (16, 16))
        maps = model.student_maps(model.represent(images))
        assert [level.shape for level in maps["B"]] == [(2, 10, 4, 4)] * 4
        torch.nn.init.normal_(model.mixtures[0].film.weight)
        other = model.predict(model.represent(images), (16, 16))
        shares = model.shares(images)
    assert (same["semseg"] != other["semseg"]).any()
    assert shares.shape == (4, 2, 5)
    torch.testing.assert_close(shares.sum(-1), torch.ones(4, 2))
    assert (shares[0, 0] != shares[0, 1]).any()


def test_each_image_follows_the_teacher_that_was_drawn_for_it():
    model = shaken(student({}))
    images = torch.randn(4, 3, 16, 16)
    (tokens,) = model.represent(images)
    maps, _ = model.deconstructed(tokens, torch.tensor([1, 0, 1, 1]))
    everything = model.student_maps([tokens])
    for name, rows in (("A", [1]), ("B", [0, 2, 3])):
        found, levels = maps[name]
        assert found.tolist() == rows
        for level, whole in zip(levels, everything[name], strict=True):
            torch.testing.assert_close(level, whole[rows])


def batch(images=4):
    known = {name: [torch.randn(images, width, 4, 4) for _ in range(4)] for name, width in TEACHERS.items()}
    normals = torch.nn.functional.normalize(torch.randn(images, 3, 16, 16), dim=1)
    labels = {"semseg": torch.randint(4, (images, 16, 16), dtype=torch.uint8), "normals": normals}
    return {"image": torch.randn(images, 3, 16, 16), **labels, **{f"features/{k}": v for k, v in known.items()}}


def test_both_stages_train_every_parameter():
    first = student({})
    given = batch()
    losses = PrismObjective(first).train()(given)
    assert set(losses) == {"A", "B", "balance"}
    sum(losses.values()).backward()
    silent = [name for name, p in first.named_parameters() if p.grad is None and p.numel()]
    assert not [name for name in silent if not name.startswith("task_codes")]
    second = student()
    begin_with(first.state_dict(), second)
    chosen = {name: tasks.make(name, classes=4 if name == "semseg" else None) for name in TASKS}
    losses = PrismObjective(second, chosen, gamma=1.0).train()(given)
    assert set(losses) == {"semseg", "normals", "A", "B", "balance"}
    sum(losses.values()).backward()
    assert all(p.grad is not None for p in second.parameters())
    assert 0 < similarity(first, [given])["A"] + 1 <= 2


def test_it_computes_in_bfloat16_learning_and_measured():
    model, given = student(), batch()
    chosen = {name: tasks.make(name, classes=4 if name == "semseg" else None) for name in TASKS}
    with torch.autocast("cpu", torch.bfloat16):
        sum(PrismObjective(model, chosen).train()(given).values()).backward()
        rough = model.eval()(given["image"])["semseg"].float()
    torch.testing.assert_close(rough, model(given["image"])["semseg"], rtol=0.1, atol=0.1)


def test_a_teacher_that_no_image_has_drawn_has_gradients_of_zero():
    model = student({})
    PrismObjective(model).train()(batch(images=1))["A"].backward(retain_graph=True)
    PrismObjective(model).train()(batch(images=1))["B"].backward()
    assert all(p.grad is not None for name, p in model.named_parameters() if name.startswith("aligners"))


def test_a_state_of_another_student_is_refused():
    with pytest.raises(UserError, match="does not fit"):
        begin_with(student({}, experts=4).state_dict(), student())
    with pytest.raises(UserError, match="at least one teacher"):
        Prism(student().stem, {})


def test_it_is_saved_and_loaded_for_images_of_another_size(tmp_path):
    model = shaken(student())
    model.save_pretrained(tmp_path)
    assert "PRISM" in (tmp_path / "README.md").read_text()
    again = Prism.from_pretrained(tmp_path)
    images = torch.randn(2, 3, 16, 16)
    with torch.no_grad():
        for name, logits in model(images).items():
            torch.testing.assert_close(again(images)[name], logits)
        larger = Prism.from_pretrained(tmp_path, image_size=(24, 32))
        assert larger(torch.randn(1, 3, 24, 32))["semseg"].shape == (1, 4, 24, 32)


def test_a_stage_1_is_counted_with_one_teacher_for_each_image():
    scale = get("mini")
    first, second = (cost(run) for run in prism(scale, 0, ("DINOv2", "CLIP", "SAM")).lineage)
    alone = cost(stage1(scale, 0, ("DINOv2", "CLIP", "SAM")))
    assert alone.macs < first.macs < second.macs
    assert second.macs > len(scale.tasks) * first.macs / 2  # every task passes through the mixtures
