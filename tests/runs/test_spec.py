import json
from dataclasses import replace

from sakbench.experiments.rows import sak, stage1
from sakbench.runs.scales import MINI


def test_equal_settings_are_the_same_run():
    assert sak(MINI, 1, ("DINOv2", "SAM")).id == sak(MINI, 1, ("DINOv2", "SAM")).id
    assert json.loads(json.dumps(sak(MINI, 1, ("CLIP",)).to_dict()))["teachers"] == [["CLIP", MINI.teachers["CLIP"]]]


def test_every_choice_changes_the_identity():
    spec = sak(MINI, 0, ("DINOv2",))
    others = [
        replace(spec, seed=1),
        replace(spec, recipe=replace(spec.recipe, lr=spec.recipe.lr * 2)),
        replace(spec, routers=False),
        replace(spec, start=None),
        replace(spec, teachers=(("DINOv2", "another"),)),
        replace(spec, inputs=("miniworld 999",)),
        replace(spec, start=replace(stage1(MINI, 0, ("DINOv2",)), seed=5)),
    ]
    assert len({spec.id, *(other.id for other in others)}) == 1 + len(others)
