"""Augmentation: a function of an item and a seed that moves image and labels alike and invents no label."""

import hashlib
import subprocess
import sys
from colorsys import hsv_to_rgb, rgb_to_hsv

import numpy as np
import pytest
import torch
from torchvision import tv_tensors
from torchvision.transforms.v2 import functional as F

from sakbench.data import transforms
from sakbench.data.transforms import (
    IMAGE_MEAN,
    IMAGE_STD,
    Depth,
    DepthTransform,
    DistillTransform,
    EvaluationTransform,
    Normals,
    TuneTransform,
    ViewTransform,
    WholeTransform,
    jittered,
    scaled,
)
from sakbench.errors import UserError

SIZE = (48, 64)
LABELS = ("semseg", "parsing", "saliency", "boundary", "depth")


def make_item(size=(50, 70), seed=0):
    """An item whose labels all hold the same number per pixel, and whose image shows it."""
    draw = np.random.default_rng(seed)
    coarse = draw.integers(1, 7, (size[0] // 5 + 1, size[1] // 5 + 1))
    field = np.kron(coarse, np.ones((5, 5), dtype=int))[: size[0], : size[1]].astype(np.uint8)
    item = {"name": "one", "image": np.stack([field * 30, 255 - field * 30, field * 7], axis=-1)}
    item |= {task: field.copy() for task in LABELS[:-1]}
    item["depth"] = field.astype(np.float32)
    item["depth"][:3] = 255
    angle = field.astype(np.float32)
    vectors = np.stack([np.cos(angle), np.sin(angle), np.zeros_like(angle)])
    vectors[:, :3] = 255
    item["normals"] = vectors
    return item


class Always(np.random.Generator):
    """A generator that takes every chance; the amounts are drawn."""

    def __init__(self, seed=0):
        super().__init__(np.random.PCG64(seed))

    def random(self):
        return 0.0


def tensors(item):
    return transforms._as_tensors(item)


def test_a_mirror_negates_x_and_mirrors_all():
    item = tensors(make_item())
    mirrored = {name: F.horizontal_flip(value) for name, value in item.items() if name != "name"}
    for name in ("image", *LABELS):
        assert torch.equal(mirrored[name], item[name].flip(-1)), name
        assert type(mirrored[name]) is type(item[name])
    assert isinstance(mirrored["normals"], Normals)
    x, y, z = mirrored["normals"]
    old = item["normals"].flip(-1)
    assert torch.equal(x[3:], -old[0, 3:])
    assert (x[:3] == 255).all()
    assert torch.equal(y, old[1])
    assert torch.equal(z, old[2])
    assert torch.equal(F.horizontal_flip(mirrored["normals"]), item["normals"])


@pytest.mark.parametrize("scale", [0.5, 0.77, 1.0, 1.9])
def test_depth_is_divided_by_the_scale_and_labels_are_nearest(scale):
    item = tensors(make_item())
    larger = scaled(item, scale)
    rows, columns = (int(side * scale) for side in (50, 70))
    nearest = np.ix_(np.arange(rows) * 50 // rows, np.arange(columns) * 70 // columns)
    for name in ("semseg", "parsing", "saliency", "boundary"):
        np.testing.assert_array_equal(larger[name].numpy(), item[name].numpy()[nearest])
    stored = item["depth"].numpy()[nearest]
    expected = np.where(stored == 255, 255, stored / np.float32(scale))
    np.testing.assert_allclose(larger["depth"].numpy(), expected, rtol=1e-6)
    assert isinstance(larger["depth"], Depth)
    np.testing.assert_array_equal(larger["normals"].numpy(), item["normals"].numpy()[:, *nearest])


@pytest.mark.parametrize("seed", range(12))
def test_tuning_keeps_labels_together_and_pads_with_255(seed):
    item = make_item()
    out = TuneTransform(SIZE)(item, seed)
    assert out["image"].dtype == torch.float32
    assert out["image"].shape == (3, *SIZE)
    assert out["normals"].shape == (3, *SIZE)
    assert all(type(value) is torch.Tensor for name, value in out.items() if name != "name")
    field = out["semseg"]
    padded = field == 255
    for task in LABELS[1:4]:
        assert torch.equal(out[task], field)
        assert out[task].dtype == torch.uint8
    assert set(field.unique().tolist()) <= {*range(1, 7), 255}
    known = out["depth"] != 255
    assert (known <= ~padded).all()
    ratios = field[known] / out["depth"][known]
    assert 0.5 <= ratios.min() <= 2
    torch.testing.assert_close(ratios, ratios[:1].expand_as(ratios))  # one scale for the whole image
    x, y, _ = out["normals"]
    valid = x != 255
    assert torch.equal(valid, known)
    torch.testing.assert_close(x[valid].square() + y[valid].square(), torch.ones(int(valid.sum())))
    assert (out["normals"][:, padded] == 255).all()
    assert (out["image"][:, padded] == 0).all()
    torch.testing.assert_close(y[valid], torch.sin(field[valid].float()))
    assert (out["image"][:, ~padded] != 0).any(0).all()


def test_a_mirrored_draw_negates_x():
    """Of many seeds some are mirrored, and then x is the negative of the label's cosine everywhere."""
    signs = set()
    for seed in range(12):
        out = TuneTransform(SIZE)(make_item(), seed)
        valid = out["normals"][0] != 255
        ratio = out["normals"][0][valid] / torch.cos(out["semseg"][valid].float())
        torch.testing.assert_close(ratio, ratio[:1].expand_as(ratio))
        signs.add(round(float(ratio[0])))
    assert signs == {-1, 1}


def test_the_item_is_left_alone():
    item, same = make_item(), make_item()
    TuneTransform(SIZE)(item, 3)
    for name in same:
        np.testing.assert_array_equal(item[name], same[name])


def digest(seed):
    out = TuneTransform(SIZE)(make_item(), seed)
    content = b"".join(out[name].numpy().tobytes() for name in ("image", "normals", *LABELS))
    return hashlib.sha256(content).hexdigest()


def test_the_same_seed_gives_the_same_in_another_process_and_another_seed_does_not():
    code = "import torch; torch.manual_seed(1); torch.set_num_threads(1)\n"
    code += "from tests.data.test_transforms import digest\nprint(digest(7))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    torch.manual_seed(2)
    torch.set_num_threads(1)  # several may add up in another order
    assert digest(7) == done.stdout.strip()
    assert digest(7) != digest(8)


def test_a_crop_that_one_class_fills_is_drawn_again():
    """A corner of many classes in a plain image: a single draw meets it seldom, eleven draws often."""
    size = (200, 200)
    semseg = np.zeros(size, dtype=np.uint8)
    semseg[:80, :80] = np.random.default_rng(0).integers(0, 9, (80, 80))
    item = tensors({"image": np.zeros((*size, 3), dtype=np.uint8), "semseg": semseg})
    cut = (40, 40)

    windows = np.lib.stride_tricks.sliding_window_view(semseg, cut).reshape(161 * 161, -1)
    filled = np.array([np.bincount(window).max() >= 0.75 * 1600 for window in windows]).reshape(161, 161)
    corners = [transforms._crop_corner(item, cut, np.random.default_rng(seed)) for seed in range(600)]
    assert np.mean([filled[corner] for corner in corners]) == pytest.approx(filled.mean() ** 11, abs=0.06)
    blind = [transforms._crop_corner({"image": item["image"]}, cut, np.random.default_rng(seed)) for seed in range(600)]
    assert np.mean([filled[corner] for corner in blind]) == pytest.approx(filled.mean(), abs=0.06)


@pytest.mark.parametrize(("share", "answer"), [(0.74, False), (0.75, True), (1.0, True)])
def test_what_dominates_a_crop(share, answer):
    labels = np.zeros(200, dtype=np.uint8)
    labels[:100] = 255
    labels[100 : 100 + round(100 * (1 - share))] = 3
    assert transforms._dominated(torch.from_numpy(labels)) == answer
    assert transforms._dominated(torch.full((4,), 255, dtype=torch.uint8))


def test_parsing_without_a_person_is_ignored_altogether():
    item = make_item()
    item["parsing"][:] = 0
    for transform in (TuneTransform(SIZE), EvaluationTransform((60, 80))):
        assert (transform(item, 0)["parsing"] == 255).all()
    item["parsing"][25, 35] = 4
    out = EvaluationTransform((60, 80))(item)["parsing"]
    assert out.unique().tolist() == [0, 4, 255]
    assert (out == 4).sum() == 1


@pytest.mark.parametrize("size", [(60, 80), (51, 71), (50, 70)])
def test_evaluation_pads_around_the_centre_and_box_cuts_it_out(size):
    item = make_item() | {"boundary_source": np.full((50, 70), 427, dtype=np.int32)}
    out = EvaluationTransform(size)(item, 123)
    top, left, height, width = out["box"].tolist()
    assert out["box"].dtype == torch.int64
    assert (height, width) == (50, 70)
    assert (top, left) == ((size[0] - 50) // 2, (size[1] - 70) // 2)
    inside = np.s_[..., top : top + 50, left : left + 70]
    for name in ("semseg", "boundary_source", "depth", "normals"):
        np.testing.assert_array_equal(out[name][inside].numpy(), item[name])
        rest = out[name].clone()
        rest[inside] = fill = 0 if name == "boundary_source" else 255
        assert (rest == fill).all()
    pixels = (
        out["image"][inside] * torch.tensor(IMAGE_STD).view(3, 1, 1) + torch.tensor(IMAGE_MEAN).view(3, 1, 1)
    ) * 255
    np.testing.assert_allclose(pixels.numpy(), item["image"].transpose(2, 0, 1), atol=1e-3)
    rest = out["image"].clone()
    rest[inside] = 0
    assert (rest == 0).all()


def test_evaluation_refuses_a_larger_image():
    with pytest.raises(UserError, match="one is 50 x 70, larger than the network's 50 x 64"):
        EvaluationTransform((50, 64))(make_item())


def test_other_means_are_used():
    out = EvaluationTransform((50, 70), (0.5, 0.5, 0.5), (0.25, 0.5, 1.0))(make_item())
    expected = (make_item()["image"].transpose(2, 0, 1) / 255 - 0.5) / np.array([0.25, 0.5, 1.0])[:, None, None]
    np.testing.assert_allclose(out["image"].numpy(), expected, atol=1e-5)


# colours


def pixel(image):
    return [tuple(values) for values in image.flatten(1).T.tolist()]


def test_saturation_is_that_of_hsv():
    image = torch.rand(3, 5, 6, generator=torch.Generator().manual_seed(0))
    image[:, 0, 0], image[:, 0, 1] = 0, 0.5  # black and grey
    for factor in (0.5, 1.0, 1.5):
        changed = transforms._saturated(image, factor)
        for before, after in zip(pixel(image), pixel(changed), strict=True):
            hue, saturation, value = rgb_to_hsv(*before)
            assert after == pytest.approx(hsv_to_rgb(hue, min(1, saturation * factor), value), abs=1e-5)


def test_colours_stay_in_range_and_change():
    image = tv_tensors.Image(torch.rand(3, 8, 9, generator=torch.Generator().manual_seed(1)))
    for seed in range(20):
        changed = jittered(image, Always(seed))
        assert changed.min() >= 0
        assert changed.max() <= 1
        assert not torch.equal(changed, image)
    same = [torch.equal(jittered(image, np.random.default_rng(seed)), image) for seed in range(400)]
    assert np.mean(same) == pytest.approx(1 / 16, abs=0.04)  # four changes, each with p 0.5


# stage 1


def test_distillation_takes_parts_of_the_named_area():
    item = {"name": "one", "image": make_item((90, 120))["image"]}
    out = DistillTransform((32, 32))(item, 5)
    assert sorted(out) == ["image", "name"]
    assert out["image"].shape == (3, 32, 32)
    assert out["image"].dtype == torch.float32
    assert torch.equal(out["image"], DistillTransform((32, 32))(item, 5)["image"])
    shares, ratios = [], []
    for seed in range(500):
        top, left, height, width = transforms._random_part((90, 120), np.random.default_rng(seed))
        assert 0 <= top <= 90 - height
        assert 0 <= left <= 120 - width
        shares.append(height * width / (90 * 120))
        ratios.append(width / height)
    assert 0.07 < min(shares) < 0.12
    assert 0.9 < max(shares) <= 1
    assert 0.7 < min(ratios) < 0.8
    assert 1.25 < max(ratios) < 1.4
    assert transforms._random_part((2, 400), np.random.default_rng(0))[2:] == (2, 3)  # no part fits: the middle


def test_distillation_sees_the_image_and_its_mirror():
    field = np.tile(np.arange(100, dtype=np.uint8) * 2, (100, 1))
    item = {"image": np.stack([field] * 3, axis=-1)}
    rising = [
        bool(image[0, :, -1].mean() > image[0, :, 0].mean())
        for image in (DistillTransform((16, 16))(item, seed)["image"] for seed in range(200))
    ]
    assert np.mean(rising) == pytest.approx(0.5, abs=0.12)


@pytest.mark.parametrize(("size", "rows", "columns"), [((40, 40), (0, 40), (20, 60)), ((20, 40), (0, 40), (0, 80))])
def test_a_view_is_the_middle(size, rows, columns):
    item = {"image": make_item((40, 80))["image"]}
    image = ViewTransform(size, (0, 0, 0), (1, 1, 1))(item)["image"]
    middle = torch.from_numpy(item["image"][slice(*rows), slice(*columns)].transpose(2, 0, 1) / np.float32(255))
    torch.testing.assert_close(image, F.resize(middle, list(size), antialias=True))


def test_a_whole_image_is_padded_with_the_mean_and_resized():
    item = {"image": make_item((40, 80))["image"]}
    image = WholeTransform((80, 80))(item)["image"]
    torch.testing.assert_close(image[:, :20], torch.zeros(3, 20, 80))  # the mean colour, normalised
    torch.testing.assert_close(image[:, 60:], torch.zeros(3, 20, 80))
    plain = ViewTransform((40, 80))(item)["image"]
    torch.testing.assert_close(image[:, 20:60], plain)
    assert WholeTransform((32, 48))({"image": item["image"].transpose(1, 0, 2)})["image"].shape == (3, 32, 48)


def test_nyuds_protocol_learns_from_nothing_but_a_kinects_picture():
    with pytest.raises(UserError, match="cut from 480 x 640"):
        DepthTransform()(make_item((240, 320)), 0)
