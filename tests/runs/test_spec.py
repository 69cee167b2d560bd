import json
from dataclasses import replace

import pytest

from sakbench.errors import UserError
from sakbench.experiments.rows import sak, stage1
from sakbench.runs.scales import MINI
from sakbench.runs.spec import RunSpec


def test_a_spec_survives_json():
    spec = sak(MINI, 1, ("DINOv2", "SAM"))
    again = RunSpec.from_dict(json.loads(json.dumps(spec.to_dict())))
    assert again == spec
    assert again.id == spec.id


def test_every_choice_changes_the_identity():
    spec = sak(MINI, 0, ("DINOv2",))
    others = [
        replace(spec, seed=1),
        replace(spec, recipe=replace(spec.recipe, lr=spec.recipe.lr * 2)),
        replace(spec, routers=False),
        replace(spec, start=None),
        replace(spec, inputs=("miniworld 999",)),
        replace(spec, start=replace(stage1(MINI, 0, ("DINOv2",)), seed=5)),
    ]
    assert len({spec.id, *(other.id for other in others)}) == 1 + len(others)


def test_a_record_of_another_version_is_refused():
    with pytest.raises(UserError, match="warp"):
        RunSpec.from_dict({**sak(MINI, 0, ("CLIP",)).to_dict(), "warp": 9})
