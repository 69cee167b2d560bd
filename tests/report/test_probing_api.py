"""`sakbench.probe` on modules and callables, as a notebook calls it."""

import math
from concurrent.futures import ThreadPoolExecutor

import pytest
import torch
from timm.models.vision_transformer import VisionTransformer
from torch import nn

import sakbench
from sakbench.errors import UserError
from sakbench.report.probing import register
from sakbench.runs import scales


@pytest.fixture
def small(tiny, monkeypatch):
    monkeypatch.setitem(scales.SCALES, "mini", tiny)
    monkeypatch.setitem(scales._DATASETS, "mini", {tiny.dataset: tiny})
    monkeypatch.setattr("sakbench.backbones.registry.BACKBONES", dict(sakbench.backbones.registry.BACKBONES))
    return tiny


def stage(width=8, stride=8):
    torch.manual_seed(0)
    return nn.Conv2d(3, width, stride, stride)


def test_a_callable_stands_beside_the_vit(small, tmp_path, capsys):
    net = stage()
    calls = []

    def maps(images):
        calls.append(images.shape)
        return net(images)

    store = tmp_path / "s.db"
    frame = sakbench.probe(maps, "one stage", beside=("ViT",), store=store, quiet=True)
    assert list(frame.index) == ["ViT Freeze", "one stage Freeze"]
    assert list(frame.columns) == [*small.tasks, "bias_mean", "bias_sd", "bias_ratio"]
    assert frame.loc["one stage Freeze", "bias_mean"] == pytest.approx(frame.loc["one stage Freeze", "bias_mean"])
    assert math.isnan(frame.loc["ViT Freeze", "bias_mean"])
    assert capsys.readouterr() == ("", "")
    asked = len(calls)
    again = sakbench.probe(maps, "one stage", beside=("ViT",), store=store, quiet=True)
    assert len(calls) == asked + 4  # what it makes of fixed images says that it is the same model
    assert again.equals(frame)
    with torch.no_grad():
        net.weight += 1
    other = sakbench.probe(maps, "one stage", beside=("ViT",), store=store, quiet=True)
    assert not other.loc["one stage Freeze"].equals(frame.loc["one stage Freeze"])


def test_it_can_be_called_beside_the_main_thread(small, tmp_path):
    with ThreadPoolExecutor(1) as pool:
        asked = pool.submit(sakbench.probe, stage(), beside=("ViT",), store=tmp_path / "s.db", quiet=True)
        assert asked.result().notna().loc["model Freeze"].all()


def test_a_module_is_copied_and_keeps_its_size(small, tmp_path):
    vit = VisionTransformer(img_size=32, patch_size=8, embed_dim=12, depth=4, num_heads=2, num_classes=0)
    frame = sakbench.probe(vit, "a vit", beside=("ViT",), store=tmp_path / "s.db", quiet=True)
    assert frame.notna().loc["a vit Freeze"].all()
    assert not isinstance(vit.norm, nn.Identity)  # nothing was taken from the caller's own


@pytest.mark.parametrize(
    ("model", "said"),
    [
        (lambda images: None, "a callable must give one map"),
        (lambda images: [images, images], "at least 4"),
        (lambda images: images.mean(1), "a callable must give one map"),
        (lambda images: images[:, :0], "a callable must give one map"),
        (lambda images: images / 0, "no finite numbers"),
        (lambda images: images.int(), "no finite numbers"),
        (lambda images: images + torch.rand(1), "other maps for the same images"),
        (lambda images: images.expand(-1, -1, -1, -1)[:, : len(images)], "another shape for one image"),
        (lambda: 1, "cannot see images"),
        (nn.Linear(3, 4), "cannot see images"),
        (nn.Linear, "is no model"),
        (7, "is no model"),
    ],
)
def test_what_gives_no_maps_is_refused(model, said):
    with pytest.raises(UserError, match=said):
        register(model, "nothing")


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"seeds": 0}, "seeds must be"),
        ({"image_size": -3}, "image_size must be"),
        ({"name": ""}, "needs a name"),
        ({"beside": ("Vit",)}, "did you mean ViT?"),
        ({"beside": ("CLIP", "ViT")}, "the ViT first"),
        ({"model": "mini_vit_b.clip", "beside": ("ViT",)}, "leave name, beside, image_size out"),
    ],
)
def test_what_cannot_be_asked_is_one_sentence(tmp_path, given, said):
    with pytest.raises(UserError, match=said):
        sakbench.probe(**{"model": stage(), "store": tmp_path / "s.db", **given})


def test_a_module_of_another_kind_is_left_as_it_was(small):
    model = nn.Sequential(stage(), nn.BatchNorm2d(8)).half().train()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    entry = register(model, "half a module")
    made = sakbench.backbones.create(entry.name)
    made.requires_grad_(False)
    assert model.training
    assert all(parameter.requires_grad and parameter.dtype == torch.float16 for parameter in model.parameters())
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())


def test_a_name_is_probed_as_the_command_does(small, tmp_path):
    with pytest.raises(UserError, match="did you mean"):
        sakbench.probe("mini_vit_b.clpi", store=tmp_path / "s.db")
    with pytest.raises(AttributeError, match="has no attribute 'prob'"):
        _ = sakbench.prob
