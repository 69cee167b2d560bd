"""Newer models by name: what they are, heads on their maps with random weights, and the tables that compare them."""

import json

import pytest
import torch

from sakbench import backbones
from sakbench.experiments import tables
from sakbench.models import PlainStudent
from sakbench.runs.costs import cost
from sakbench.runs.plan import label
from sakbench.runs.scales import PAPER

NEWER = PAPER.newer
SMALL = {name: entry for name, entry in NEWER.items() if name not in ("C-RADIOv4",)}  # 414 M parameters


@pytest.mark.parametrize("name", SMALL)
def test_heads_learn_on_its_maps(name):
    entry = backbones.info(NEWER[name])
    side = 128 if len(set(entry.strides)) > 1 else 4 * entry.patch_size
    torch.manual_seed(0)
    encoder = backbones.create(entry.name, image_size=side, pretrained=False).requires_grad_(False).eval()
    student = PlainStudent(encoder, {"semseg": 3, "normals": 3})
    with torch.no_grad():
        maps = student.represent(torch.randn(2, 3, side, side))
    assert [level.shape[1] for level in maps] == list(entry.dims)
    assert [level.shape[-1] for level in maps] == [side // stride for stride in entry.strides]
    assert all(level.isfinite().all() for level in maps)
    logits = student.predict(maps, (side, side))
    sum(each.sum() for each in logits.values()).backward()
    assert all(parameter.grad is not None for parameter in student.heads.parameters())


def test_every_row_of_their_tables_can_be_planned_and_counted():
    for name in ("profiles", "committees"):
        rows = tables.get(name).build(PAPER, 0)
        for row in rows:
            for run in row.runs:
                assert cost(run).parameters > 1e6
                assert label(run)
    named = {row.name.removesuffix(" Freeze") for row in tables.get("profiles").build(PAPER, 0)}
    assert set(NEWER) <= named


def test_they_are_for_scale_paper_and_say_what_is_missing(sakbench, tmp_path):
    done = sakbench("run", "profiles")
    assert done.returncode == 2
    assert "--scale paper" in done.stderr
    done = sakbench("run", "committees", "--scale", "paper", "--dry-run", "--json")
    assert done.returncode == 0, done.stderr
    assert "DINOv3+SigLIP 2+SAM" in json.dumps(json.loads(done.stdout))
