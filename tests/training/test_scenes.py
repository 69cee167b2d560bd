import numpy as np
import pytest
import torch

from sakbench import backbones, data, tasks
from sakbench.data import miniworld
from sakbench.errors import UserError
from sakbench.training import features
from sakbench.training.loop import Interrupted
from sakbench.training.scenes import Scenes

COUNT = 10
CHOSEN = {
    name: tasks.make(name, classes=len(miniworld.CLASSES) if name == "semseg" else None)
    for name in ("semseg", "normals", "boundary")
}


@pytest.fixture(scope="module")
def split():
    return data.load("miniworld-pascal", "train", COUNT)


@pytest.fixture(scope="module")
def scenes(split):
    return Scenes(split, size=64, tasks=CHOSEN)


def test_a_mirrored_scene_has_mirrored_labels_and_negated_x_of_the_normals(scenes):
    rows = np.arange(COUNT)
    plain = scenes.batch(rows, np.zeros(COUNT, bool))
    mirrored = scenes.batch(rows, np.ones(COUNT, bool))
    for name in ("image", "semseg", "boundary"):
        assert torch.equal(mirrored[name], plain[name].flip(-1))
    sign = torch.tensor([-1.0, 1.0, 1.0]).view(3, 1, 1)
    assert torch.equal(mirrored["normals"], plain["normals"].flip(-1) * sign)


def test_mirroring_some_leaves_the_others_and_the_scenes_themselves_as_they_are(scenes):
    rows = np.arange(4)
    before = scenes.batch(rows, np.zeros(4, bool))
    some = scenes.batch(rows, np.array([True, False, True, False]))
    after = scenes.batch(rows, np.zeros(4, bool))
    for name in before:
        assert torch.equal(before[name], after[name])
        assert torch.equal(some[name][1::2], before[name][1::2])
        assert not torch.equal(some[name][::2], before[name][::2])


def test_an_epoch_shows_every_scene_once(scenes):
    stream = scenes.draw(5, seed=0, start=0, mirror=False)
    images = torch.cat([next(stream)["image"], next(stream)["image"]])
    assert len(torch.unique(images.flatten(1), dim=0)) == COUNT


def test_a_step_has_the_same_batch_wherever_one_starts(scenes):
    whole = scenes.draw(4, seed=1, start=0, mirror=True)
    for step in range(7):
        expected = next(whole)
        found = next(scenes.draw(4, seed=1, start=step, mirror=True))
        assert all(torch.equal(expected[name], found[name]) for name in expected)


def test_seeds_draw_differently(scenes):
    one, other = (next(scenes.draw(8, seed=s, start=0, mirror=True))["image"] for s in (0, 1))
    assert not torch.equal(one, other)


def test_stored_features_are_the_backbones(split):
    encoder = backbones.create("mini_vit_s.supervised").eval()
    stored, mirrored = (features.bank("vit", lambda: encoder, split, 64, flipped=flip) for flip in (False, True))
    scenes = Scenes(split, size=64, banks={"ViT": (stored, mirrored)})
    for flip in (False, True):
        batch = scenes.batch(np.arange(COUNT), np.full(COUNT, flip))
        with torch.inference_mode():
            for kept, fresh in zip(batch["features/ViT"], encoder(batch["image"]), strict=True):
                torch.testing.assert_close(kept, fresh, atol=2e-2, rtol=2e-3)  # half precision on disk


def test_an_interrupted_feature_file_leaves_nothing_behind(split, cache):
    before = set((cache / "features").glob("[!.]*"))
    with pytest.raises(Interrupted):
        features.bank("sam", lambda: backbones.create("mini_samvit_b.random"), split, 128, stop=lambda: True)
    left = {path for path in (cache / "features").glob("*") if path.suffix != ".lock"}
    assert left == before


def test_an_unknown_data_set_gets_a_suggestion():
    with pytest.raises(UserError, match="did you mean miniworld-pascal"):
        data.load("miniworld-pascall", "train", 4)
