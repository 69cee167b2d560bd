import itertools
from dataclasses import asdict

import numpy as np
import pytest
import torch
from timm.models.vision_transformer import VisionTransformer

from sakbench import backbones
from sakbench.backbones import cards
from sakbench.data.miniworld import VERSION, VOCABULARY
from sakbench.errors import UserError
from sakbench.training.pretrain import PRETRAININGS, gates, pretrain, self_distillation
from sakbench.training.pretrain.contrastive import ImageText
from sakbench.training.pretrain.promptable import Promptable, bounding_boxes, sample_prompts
from sakbench.training.pretrain.run import batches, mirror, ship
from sakbench.training.pretrain.self_distillation import MomentumContrast, SelfDistillation, koleo, sinkhorn
from sakbench.training.pretrain.supervised import Classification
from sakbench.training.pretrain.views import View, normalise, positions_in, random_crop, random_frames, surroundings
from sakbench.training.pretrain.vit import build, deepened, tokens


def tiny(image_size: int = 64) -> VisionTransformer:
    torch.manual_seed(0)
    return VisionTransformer(img_size=image_size, patch_size=8, embed_dim=32, depth=2, num_heads=2, num_classes=0)


def noise_batch(n: int = 4) -> dict[str, torch.Tensor]:
    rng = np.random.default_rng(0)
    return {
        "images": torch.from_numpy(rng.integers(0, 256, (n, 128, 128, 3), dtype=np.uint8)),
        "dominant": torch.arange(n) % 3,
        "captions": torch.from_numpy(rng.integers(0, len(VOCABULARY), (n, 14))),
        "instance": torch.from_numpy(rng.integers(0, 3, (n, 8, 8), dtype=np.uint8).repeat(8, 1).repeat(8, 2)),
        "part": torch.from_numpy(rng.integers(0, 5, (n, 16, 16), dtype=np.uint8).repeat(4, 1).repeat(4, 2)),
    }


def test_tokens_are_those_of_timm():
    vit = build("mini_vit_s.supervised")
    images = torch.randn(2, 3, 64, 64)
    torch.testing.assert_close(tokens(vit, images), vit.forward_features(images))


def test_dropped_patches_leave_the_others_in_place():
    vit = tiny().requires_grad_(False)
    images = torch.randn(2, 3, 64, 64)
    order = torch.randperm(64).expand(2, -1)
    torch.testing.assert_close(
        tokens(vit, images, keep=order)[:, 1:], tokens(vit, images)[:, 1:][:, order[0]], atol=1e-5, rtol=1e-4
    )
    assert tokens(vit, images, keep=order[:, :10]).shape == (2, 11, 32)
    assert tokens(vit, images[..., :48, :48]).shape == (2, 37, 32)


def test_a_deepened_encoder_computes_the_same_and_can_learn_more():
    vit = tiny()
    deep = deepened(vit)
    images = torch.randn(2, 3, 64, 64)
    assert len(deep.blocks) == 4
    torch.testing.assert_close(tokens(deep, images), tokens(vit, images))
    tokens(deep, images).square().sum().backward()
    assert deep.blocks[1].mlp.fc2.weight.grad.abs().max() > 0


def test_masked_patches_are_not_seen():
    vit, token = tiny().requires_grad_(False), torch.zeros(32)
    masked = torch.zeros(1, 64, dtype=torch.bool)
    masked[0, :8] = True  # the first row of patches
    images = torch.randn(1, 3, 64, 64)
    changed = images.clone()
    changed[:, :, :8] += 1
    a, b = (tokens(vit, x, masked=masked, mask_token=token) for x in (images, changed))
    torch.testing.assert_close(a, b)


def test_a_crop_tells_where_it_was_taken():
    torch.manual_seed(0)
    ticks = (torch.arange(128) + 0.5) / 64 - 1
    y, x = torch.meshgrid(ticks, ticks, indexing="ij")
    ramps = torch.stack([x, y, x]).expand(16, 3, 128, 128)
    view = random_crop(ramps, 32, (0.2, 0.6))
    ticks = (torch.arange(32) + 0.5) / 16 - 1
    y, x = torch.meshgrid(ticks, ticks, indexing="ij")
    points = torch.stack([x, y], dim=-1).view(1, -1, 2)
    found = view.images[:, :2].flatten(2).transpose(1, 2)
    expected = view.centre.unsqueeze(1) + view.extent.unsqueeze(1) * points
    assert (found - expected).abs().max() < 0.02
    assert (view.extent[:, 0] < 0).any() and (view.extent[:, 0] > 0).any()
    share = view.extent.abs().prod(dim=1)
    assert share.max() < 0.61 and share.min() > 0.19


def test_a_frame_shows_the_whole_thing_and_stays_in_the_image():
    torch.manual_seed(0)
    instance = torch.zeros(64, 64, 64, dtype=torch.uint8)
    instance[:, 10:40, 48:64] = 3  # 30 rows, 16 columns at the right edge
    frame, thing = random_frames(instance, (1.0, 1.5), 0.1)
    assert torch.equal(thing, instance == 3)
    low, high = frame.centre - frame.extent, frame.centre + frame.extent
    assert low.min() >= -1 and high.max() <= 1 + 1e-6
    assert (low[:, 0] <= 48 / 32 - 1).all() and (high[:, 0] >= 1 - 1e-6).all()
    assert (low[:, 1] <= 10 / 32 - 1 + 1e-6).all() and (high[:, 1] >= 40 / 32 - 1 - 1e-6).all()
    side = frame.extent[:, 0]
    assert side.min() >= 30 / 64 - 1e-6 and side.max() <= 1.5 * 30 / 64 and side.max() > 1.3 * 30 / 64

    whole, nothing = random_frames(torch.zeros(2, 64, 64, dtype=torch.uint8), (1.0, 1.5), 0.1)
    assert not nothing.any()
    torch.testing.assert_close(whole.centre, torch.zeros(2, 2))
    torch.testing.assert_close(whole.extent, torch.ones(2, 2))


def test_surroundings_come_from_other_images_where_things_stood():
    images = torch.arange(1.0, 9.0).view(8, 1, 1, 1).expand(8, 3, 8, 8).clone()
    instance = torch.zeros(8, 4, 4, dtype=torch.uint8)
    instance[:6, :, :2] = 1  # the left half of all but the last two
    images[:6, :, :, :4] = 99
    filled = surroundings(images, instance)
    assert torch.equal(filled[..., 4:], images[..., 4:])
    left = filled[:, 0, 0, 0].tolist()
    assert left == [8, 8, 8, 99, 99, 99, 7, 8]  # a thing stays where the three images before have one too


def test_all_views_but_the_first_share_only_the_thing(monkeypatch):
    def plain(views: list[View]) -> torch.Tensor:
        return torch.cat([view.images[:, :3] for view in views])

    monkeypatch.setattr(self_distillation, "_coloured", plain)
    torch.manual_seed(0)
    images = torch.arange(0, 160, 10, dtype=torch.uint8).view(16, 1, 1, 1).expand(16, 128, 128, 3).clone()
    images[:, 32:96, 32:96] = 250
    instance = torch.zeros(16, 64, 64, dtype=torch.uint8)
    instance[:, 16:48, 16:48] = 1
    views = MomentumContrast(tiny(), steps=1).views({"images": images, "instance": instance})

    first, second = (255 * pixels[:, 0] for pixels in views.globals.chunk(2))
    own = 10.0 * torch.arange(16).view(16, 1, 1)
    inside, outside = (pixels[:, 0].chunk(2) for pixels in (views.thing > 0.999, views.thing < 0.001))
    assert inside[0].any() and outside[0].any() and inside[1].any() and outside[1].any()
    for pixels, thing in ((first, inside[0]), (second, inside[1])):
        assert (pixels[thing] - 250).abs().max() < 1
    assert ((first - own).abs()[outside[0]] < 1).all()
    assert ((second - own).abs()[outside[1]] > 1).all()


def test_positions_in_another_view():
    a = View(torch.empty(0), torch.tensor([[0.5, 0.0]]), torch.tensor([[-0.5, 0.5]]))  # right half, mirrored
    b = View(torch.empty(0), torch.tensor([[0.0, 0.0]]), torch.tensor([[1.0, 1.0]]))  # everything
    points = torch.tensor([[[1.0, 0.0], [-1.0, 1.0]]])
    torch.testing.assert_close(positions_in(a, b, points), torch.tensor([[[0.0, 0.0], [1.0, 0.5]]]))
    torch.testing.assert_close(positions_in(b, a, positions_in(a, b, points)), points)


def test_sinkhorn_uses_every_prototype_alike():
    torch.manual_seed(0)
    q = sinkhorn(3 * torch.randn(60, 6) + torch.arange(6), iterations=50)
    torch.testing.assert_close(q.sum(dim=1), torch.ones(60))
    torch.testing.assert_close(q.sum(dim=0), torch.full((6,), 10.0))


def test_koleo_is_least_for_points_that_are_far_apart():
    spread = torch.eye(4)
    close = torch.nn.functional.normalize(spread + 3, dim=1)
    assert koleo(spread).item() == pytest.approx(-np.log(np.sqrt(2)), abs=1e-5)
    assert koleo(close) > koleo(spread)


def objectives():
    contrast = MomentumContrast(tiny(), steps=10)
    batch = {key: value.repeat(8, *[1] * (value.ndim - 1)) for key, value in noise_batch().items()}
    return {
        "class": Classification(tiny(), 3),
        "caption": ImageText(tiny(), len(VOCABULARY), 14, mirror(), masked_steps=5),
        "contrast": contrast,
        "distillation": SelfDistillation(MomentumContrast(tiny(), steps=10), batch, steps=10),
        "masks": Promptable(tiny(128), prompts=3),
    }


def untouched(parameter: str) -> bool:
    """Teachers, and what an identity block's zero outputs hide from the gradient at first."""
    twin = parameter.startswith("student.encoder.blocks.") and int(parameter.split(".")[3]) % 2 == 1
    return "teacher" in parameter or (twin and not parameter.endswith(("proj.weight", "fc2.weight")))


@pytest.mark.parametrize("name", ["class", "caption", "contrast", "distillation", "masks"])
def test_gradients_reach_what_is_trained_and_nothing_else(name):
    torch.manual_seed(0)
    objective = objectives()[name]
    losses = objective(noise_batch())
    assert all(torch.isfinite(value) for value in losses.values())
    torch.stack(list(losses.values())).sum().backward()
    for key, parameter in objective.named_parameters():
        moves = parameter.grad is not None and parameter.grad.abs().max() > 0
        assert moves or untouched(key), key
        assert not (moves and "teacher" in key), key
    grouped = [p for group in objective.parameter_groups() for p in group["params"]]
    assert {id(p) for p in grouped} == {id(p) for p in objective.parameters() if p.requires_grad}


def test_the_teacher_follows_and_the_queue_takes_its_keys():
    torch.manual_seed(0)
    objective = MomentumContrast(tiny(), steps=10)
    with torch.no_grad():
        for parameter in objective.student.parameters():
            parameter.add_(1.0)
    before = [p.clone() for p in objective.teacher.parameters()]
    old = objective.queue.clone()
    objective(noise_batch())
    objective.after_step(0)
    for was, student, teacher in zip(
        before, objective.student.parameters(), objective.teacher.parameters(), strict=True
    ):
        torch.testing.assert_close(teacher, 0.98 * was + 0.02 * student)
    torch.testing.assert_close(objective.queue[8:], old[:-8])
    torch.testing.assert_close(objective.queue.norm(dim=1), torch.ones(2048))
    objective.after_step(10)
    after = [p.clone() for p in objective.teacher.parameters()]
    objective.after_step(10)  # momentum is 1 at the end
    assert all(torch.equal(a, b) for a, b in zip(after, objective.teacher.parameters(), strict=True))


def test_prompts_ask_for_what_is_there():
    torch.manual_seed(0)
    ids = torch.zeros(2, 2, 64, 64, dtype=torch.long)
    ids[0, 0, 10:30, 5:25] = 3
    ids[0, 1, 10:20, 5:25] = 7  # a part of it
    ids[1, 0, 40:60, 40:50] = 1  # without parts
    points, kinds, masks, asked = sample_prompts(ids, 40, boxes=0.5)
    for image, prompt in itertools.product(range(2), range(40)):
        wanted = masks[image, prompt][asked[image, prompt]]
        assert len(wanted) and (wanted.flatten(1).sum(1) > 0).all()
        if kinds[image, prompt, 0] == 0:
            x, y = (points[image, prompt, 0] * 64).long().tolist()
            assert (wanted[:, y, x] == 1).all()
        else:
            assert len(wanted) == 1
            low, high = (points[image, prompt] * 64).round().long()
            inside = wanted[0, low[1] : high[1], low[0] : high[0]]
            assert inside.sum() == wanted.sum()
            assert inside[0].any() and inside[-1].any() and inside[:, 0].any() and inside[:, -1].any()
    assert not asked[1, :, 1].any()


def test_bounding_box():
    mask = torch.zeros(10, 20, dtype=torch.bool)
    mask[2:5, 6:16] = True
    torch.testing.assert_close(bounding_boxes(mask), torch.tensor([[0.3, 0.2], [0.8, 0.5]]))


def test_batches_depend_on_the_step_alone():
    arrays = {"images": np.arange(10, dtype=np.uint8), "dominant": np.arange(10, dtype=np.uint8)}
    stream = batches(arrays, ("images", "dominant"), 10, 4, seed=1)
    rows = [next(it)["images"].tolist() for it in [stream(0)] for _ in range(5)]
    assert sorted(itertools.chain(*rows)) == sorted(2 * list(range(10)))  # two whole epochs
    later = stream(3)
    assert [next(later)["images"].tolist() for _ in range(2)] == rows[3:]
    other = batches(arrays, ("images",), 10, 4, seed=2)(0)
    assert next(other)["images"].tolist() != rows[0]


def test_the_mirror_swaps_sides_and_only_sides():
    words = [VOCABULARY[i] for i in mirror().tolist()]
    assert [VOCABULARY[i] for i in mirror()[mirror()].tolist()] == list(VOCABULARY)
    for word, swapped in zip(VOCABULARY, words, strict=True):
        assert (word == swapped) == ("left" not in word and "right" not in word)


def test_patch_classes_are_the_commonest():
    semseg = np.zeros((1, 4, 4), dtype=np.uint8)
    semseg[0, :2, 2:] = [[1, 2], [2, 2]]
    semseg[0, 2:, :2] = 3
    assert gates._patch_classes(semseg, 2, 4).tolist() == [0, 2, 3, 0]


def coloured_scenes(n: int) -> tuple[np.ndarray, np.ndarray]:
    """Images whose colour is their class."""
    rng = np.random.default_rng(0)
    labels = rng.integers(0, 4, n)
    palette = np.array([[200, 30, 30], [30, 200, 30], [30, 30, 200], [200, 200, 30]])
    noise = rng.integers(-20, 20, (n, 128, 128, 3))
    return (palette[labels][:, None, None] + noise).astype(np.uint8), labels


def test_gates_find_what_is_easy():
    vit = build("mini_vit_s.supervised")
    images, labels = coloured_scenes(60)
    assert gates.nearest_neighbours(vit, images[:40], labels[:40], images[40:], labels[40:], k=5) == 1.0
    semseg = np.broadcast_to(labels[:, None, None], (60, 64, 64))
    halves = images[:40], semseg[:40], images[40:], semseg[40:]
    assert gates.patch_miou(vit, *halves, classes=4) == pytest.approx(1.0)
    assert gates.patch_miou(vit, *halves, classes=8) == pytest.approx(0.5)  # absent classes count 0


class FirstCaption:
    """Finds the first caption, whatever the image."""

    def embed_images(self, images):
        return torch.eye(4)[:1].expand(len(images), -1)

    def embed_texts(self, captions):
        return torch.eye(4)


def test_retrieval_counts_captions_of_the_same_words():
    images = np.zeros((4, 128, 128, 3), dtype=np.uint8)
    captions = np.array([[5], [6], [7], [5]])
    assert gates.retrieval(FirstCaption(), images, captions) == 0.5  # type: ignore[arg-type]


def test_shipped_weights_can_be_loaded(tmp_path, monkeypatch):
    monkeypatch.setattr(cards, "WEIGHTS", tmp_path)
    name = "mini_vit_b.clip"
    vit = build(name)
    card = ship(tmp_path, name, vit, {"passed": True})
    assert sorted(p.name for p in tmp_path.iterdir()) == [f"{name}.json", f"{name}.safetensors"]
    assert backbones.weights_digest(name) == card["sha256"][:12]
    encoder = backbones.create(name)
    images = normalise(torch.rand(1, 3, 64, 64))
    last = vit.forward_intermediates(images, indices=1, intermediates_only=True)[0]
    torch.testing.assert_close(encoder(images)[-1], last)


@pytest.mark.parametrize("name", PRETRAININGS)
def test_cards_tell_whether_their_gates_hold(name):
    card = backbones.read_card(name)
    assert card["passed"] == all(card["figures"][key] >= least for key, least in card["gates"].items())
    assert card["data"]["held_out"] == 2400 and card["gates"] == dict(PRETRAININGS[name].gates)
    assert card["data"]["version"] == VERSION


@pytest.mark.parametrize("name", PRETRAININGS)
def test_cards_tell_what_the_command_would_do_again(name):
    card, plan = backbones.read_card(name), PRETRAININGS[name]
    assert [p["objective"] for p in card["phases"]] == [phase.objective for phase in plan.phases]
    recipes = [{"optimizer": "adamw", **p["recipe"]} for p in card["phases"]]  # when they were made there was no other
    assert recipes == [asdict(phase.recipe) for phase in plan.phases]
    assert cards.weights_file(name).stat().st_size < 10e6  # the four together under 40 MB


def test_an_unknown_name_is_refused_before_anything_is_rendered():
    with pytest.raises(UserError, match="dinov2"):
        pretrain(["mini_vit_b.dinov3"])
