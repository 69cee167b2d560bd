"""Students by others' recipes, teachers that are added to a student, and the second mini data set."""

from dataclasses import replace

import pytest
import torch
from safetensors.torch import load_file

from sakbench.errors import UserError
from sakbench.experiments.rows import rival, sak, stage1
from sakbench.runs.perform import perform
from sakbench.runs.place import Place
from sakbench.runs.plan import label, plan
from sakbench.runs.scales import MINI, get
from sakbench.runs.spec import RunSpec
from tests.runs.tiny_command import SCALE as SMALL

SCALE = replace(SMALL, probe=SMALL.tune)
NOTHING = {"is_stored": lambda run: False, "has_weights": lambda run: False}


def performed(spec: RunSpec, folder) -> dict:
    """Do a run and those it begins with; the last one's result."""
    for run in plan([spec], **NOTHING):
        result = perform(run, Place(folder), lambda *progress: None, lambda: False)
    return result


def weights(spec: RunSpec, folder):
    return load_file(folder / spec.id / "model.safetensors")


@pytest.mark.parametrize("name", ["RADIO", "Theia"])
def test_a_rivals_student_begins_with_the_distilled_backbone(name, tmp_path):
    frozen = rival(SCALE, 0, name, frozen=True)
    result = performed(frozen, tmp_path)
    assert {metric["task"] for metric in result["metrics"]} == set(SCALE.tasks)
    distilled, probe = weights(frozen.start, tmp_path), weights(frozen, tmp_path)
    kept = [key for key in probe if key.startswith("encoder.")]
    assert kept and all(torch.equal(probe[key], distilled[key]) for key in kept)
    tuned = rival(SCALE, 0, name)
    performed(replace(tuned, recipe=replace(tuned.recipe, steps=2)), tmp_path)
    assert label(rival(MINI, 0, name)) == f"multi-task {name}-like"
    assert not tuned.is_sak and not frozen.is_fixed


def test_an_added_teacher_leaves_stem_and_old_paths_as_they_were(tmp_path):
    both = stage1(SCALE, 0, ("DINOv2", "SAM"), before=("DINOv2",))
    result = performed(both, tmp_path)
    assert {metric["task"] for metric in result["metrics"]} == {"rep_sim", "rep_sim DINOv2", "rep_sim SAM"}
    old, new = weights(both.start, tmp_path), weights(both, tmp_path)
    for name, values in old.items():
        after = new[name][:1] if name.startswith("paths.") else new[name]
        assert torch.equal(after, values), name
    fresh = [values[1:] for name, values in new.items() if name.endswith("scale")]
    assert fresh and all((values != 1).any() for values in fresh)  # scales begin at 1
    alone = next(m["value"] for m in performed(both.start, tmp_path)["metrics"] if m["task"] == "rep_sim DINOv2")
    again = next(m["value"] for m in result["metrics"] if m["task"] == "rep_sim DINOv2")
    assert again == pytest.approx(alone, abs=1e-6)
    performed(sak(SCALE, 0, ("DINOv2", "SAM"), before=("DINOv2",)), tmp_path)
    assert label(sak(MINI, 0, ("DINOv2", "SAM"), before=("DINOv2",))) == "stage 2 DINOv2+SAM, SAM added"


def test_a_student_cannot_begin_with_one_that_does_not_fit():
    spec = stage1(SCALE, 0, ("DINOv2", "SAM"), before=("DINOv2",)).to_dict()
    assert RunSpec.from_dict(spec).to_dict() == spec
    for change in ({"teachers": spec["teachers"][::-1]}, {"adapter_paths": False}, {"teachers": spec["teachers"][:1]}):
        with pytest.raises(UserError, match="no student to add teachers to"):
            RunSpec.from_dict({**spec, **change})


def test_the_second_data_set_has_depth_and_shares_stage_1(tmp_path):
    small = {"train_images": 8, "test_images": 4, "tune": SCALE.tune, "distill": SCALE.distill}
    rooms = replace(
        get("mini", "miniworld-nyud"), **small, distill_images=SCALE.distill_images, distill_test=("test", 4)
    )
    student = sak(rooms, 0, ("DINOv2",))
    assert student.start.dataset == "miniworld-pascal"
    found = {metric["task"]: metric for metric in performed(student, tmp_path)["metrics"]}
    assert set(found) == {"semseg", "depth", "normals", "boundary"}
    assert (found["depth"]["metric"], found["depth"]["unit"]) == ("RMSE", "m")
