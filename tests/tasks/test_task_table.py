"""The table of tasks, decoding, flips and pictures."""

import pickle
import subprocess
import sys
from dataclasses import FrozenInstanceError
from functools import partial

import numpy as np
import pytest
import torch

from sakbench import tasks
from sakbench.errors import UserError
from sakbench.metrics import OdsF
from sakbench.tasks.colouring import IGNORED, palette, seen_by_all

CHANNELS = {"semseg": 21, "parsing": 7, "saliency": 2, "normals": 3, "boundary": 1, "depth": 1}


def make(name):
    return tasks.make(name, classes=21 if name == "semseg" else None)


def target_of(name):
    generator = torch.Generator().manual_seed(0)
    uniform = torch.rand(2, 6, 5, generator=generator)
    ignored = uniform < 0.2
    if name == "normals":
        directions = torch.randn(2, 3, 6, 5, generator=generator)
        return (directions / directions.norm(dim=1, keepdim=True)).masked_fill(ignored[:, None], 255)
    scale = {"semseg": 21, "parsing": 7, "saliency": 2, "boundary": 2, "depth": 1}[name]
    values = uniform * scale if name == "depth" else (uniform * scale).byte()
    return values.masked_fill(ignored, 255)


def logits_for(task, target):
    """Logits that say the target with certainty."""
    if task.name in ("normals", "depth"):
        return 7 * target if task.name == "normals" else target[:, None]
    if task.name == "boundary":
        return torch.where(target == 1, 30.0, -30.0)[:, None]
    hot = torch.nn.functional.one_hot(torch.where(target == 255, 0, target).long(), task.channels)
    return 30.0 * hot.permute(0, 3, 1, 2)


def test_the_table_is_read_without_torch():
    code = "import sys, sakbench.tasks as t; t.info('depth'); print(sorted({'torch', 'numpy'} & set(sys.modules)))"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "[]\n"


@pytest.mark.parametrize("name", tasks.NAMES)
def test_make_agrees_with_the_table(name):
    task, info = make(name), tasks.info(name)
    assert {field: getattr(task, field) for field in vars(info)} == vars(info)
    assert task.channels == CHANNELS[name]
    with pytest.raises(FrozenInstanceError):
        task.loss_weight = 0.0
    assert pickle.loads(pickle.dumps(task)).channels == task.channels


@pytest.mark.parametrize("name", tasks.NAMES)
def test_certain_logits_score_perfectly(name):
    task, target = make(name), target_of(name)
    # non-maximum suppression would thin out the random boundary before it is compared
    new_metric = partial(OdsF, nms_radius=0) if name == "boundary" else task.new_metric
    perfect, worse = new_metric(), new_metric()
    logits = logits_for(task, target)
    perfect.update(task.decode(logits), target)
    worse.update(task.decode(logits.flip(1) if task.channels > 1 else -logits), target)
    # an absent class counts 0, so mIoU's best is the share of the classes that are there
    classes = [] if name not in tasks.LABEL_TASKS else target[target != 255].unique()
    best = 100 * len(classes) / task.channels if name in tasks.LABEL_TASKS else 100 * task.higher_is_better
    assert perfect.compute() == pytest.approx(best, abs=1e-4)
    assert (perfect.compute() > worse.compute()) == task.higher_is_better


@pytest.mark.parametrize("name", tasks.NAMES)
def test_flipping_twice_changes_nothing(name):
    task, target = make(name), target_of(name)
    once = task.flip(target)
    assert not torch.equal(once, target)
    assert torch.equal((once == 255).flip(-1), target == 255)
    assert torch.equal(task.flip(once), target)
    assert torch.equal(task.flip(target[0]), once[0])


def test_flipped_normals_look_the_other_way():
    normals = torch.tensor([0.6, 0.0, 0.8]).reshape(3, 1, 1).repeat(1, 1, 2)
    normals[:, :, 1] = 255
    assert torch.equal(make("normals").flip(normals)[:, 0].T, torch.tensor([[255.0, 255, 255], [-0.6, 0, 0.8]]))


@pytest.mark.parametrize("name", tasks.NAMES)
def test_pictures(name):
    task, target = make(name), target_of(name)[0]
    picture = task.colours(target)
    assert picture.shape == (6, 5, 3) and picture.dtype == np.uint8
    ignored = np.asarray((target == 255).all(0) if name == "normals" else target == 255)
    assert ignored.any()
    assert np.array_equal((picture == IGNORED).all(-1), ignored)
    assert np.array_equal(task.colours(target.numpy()), picture)


def test_pictures_by_hand():
    assert make("normals").colours(torch.tensor([0.0, 0.0, 1.0]).reshape(3, 1, 1)).tolist() == [[[128, 128, 255]]]
    assert make("boundary").colours(torch.tensor([[0.0, 1.0]])).tolist() == [[[255] * 3, [0] * 3]]
    assert make("saliency").colours(torch.tensor([[0.0, 1.0]])).tolist() == [[[0] * 3, [255] * 3]]


@pytest.mark.parametrize("classes", [12, 21, 40])
def test_palette_tells_classes_apart(classes):
    assert np.array_equal(palette(classes), palette(40)[:classes])
    places = seen_by_all(np.vstack([palette(classes), IGNORED]))
    distances = np.linalg.norm(places[:, :, None] - places[:, None], axis=-1)
    # 2.3 is about the least difference in CIELAB that the eye notices side by side
    assert distances[:, ~np.eye(classes + 1, dtype=bool)].min() > 4 * 2.3


@pytest.mark.parametrize(
    ("name", "classes", "sentence"),
    [
        ("semsge", None, "did you mean semseg"),
        ("semseg", None, "needs its number of classes"),
        ("semseg", 1, "from 2 to 254"),
        ("parsing", 300, "from 2 to 254"),
        ("depth", 10, "has no classes"),
    ],
)
def test_bad_names_and_classes(name, classes, sentence):
    with pytest.raises(UserError, match=sentence):
        tasks.make(name, classes=classes)
