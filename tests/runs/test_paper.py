"""Scale paper's path from archives to a table, with small archives and models, in one process and in several."""

import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch

from sakbench.data.archives import open_split
from sakbench.errors import UserError
from sakbench.experiments.preparation import require_data, require_shares
from sakbench.experiments.rows import multi_task, sak, stage1, upper_bound
from sakbench.runs import photographs
from sakbench.runs.perform import perform
from sakbench.runs.place import Place
from sakbench.runs.scales import get, with_choices
from sakbench.runs.students import tasks_of
from sakbench.store import open_store
from sakbench.training import evaluation
from tests.data import archives
from tests.runs.tiny_paper import scale

COMMAND = str(Path(__file__).with_name("tiny_paper.py"))
TORCHRUN = ("-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2")


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    folder = tmp_path_factory.mktemp("data")
    archives.pascal_context(folder / "PASCALContext")
    archives.nyud(folder / "NYUDv2")
    archives.imagenet(folder / "imagenet")
    return folder


def table(store, data, processes, *launcher):
    """The small table's numbers, trained by the command in so many processes."""
    command = [sys.executable, *launcher, COMMAND, str(store), str(data), str(processes)]
    environment = os.environ | {"OMP_NUM_THREADS": "1", "PYTHONPATH": str(Path(COMMAND).parents[2])}
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=environment, timeout=240)
    assert done.returncode == 0, done.stdout + done.stderr
    return open_store(store, write=False)


def numbers(store):
    return store.frame().set_index(["row", "task"])["value"].sort_index()


@pytest.fixture(scope="module")
def alone(data, tmp_path_factory):
    return table(tmp_path_factory.mktemp("alone") / "store.db", data, 1)


def test_every_row_is_measured_and_says_on_what(alone):
    frame = alone.frame().set_index(["row", "task"])
    assert set(frame.loc["DINOv2+SAM"].index) == {"semseg", "parsing", "saliency", "normals", "boundary"}
    protocol = frame.loc[("DINOv2+SAM", "boundary"), "protocol"]
    assert "max_dist 0.0075" in protocol and "pascal-context test 3, edges of labels" in protocol
    record = alone.lookup(frame.loc[("DINOv2+SAM", "semseg"), "run"])
    assert record.notes["processes"] == record.notes["parts"] == 1
    assert len(record.notes["gates"]) == 4


@pytest.mark.parametrize("launcher", [(), TORCHRUN], ids=["our processes", "torchrun"])
def test_two_processes_give_the_numbers_of_one(alone, data, tmp_path, launcher):
    together = table(tmp_path / "store.db", data, 1 if launcher else 2, *launcher)
    for name, tolerance in {
        "boundary": {"atol": 0.5},
        "": {"rtol": 2e-3},
    }.items():  # odsF counts: of few pixels, one more
        ours, theirs = (
            of[(of.index.get_level_values("task") == "boundary") == bool(name)]
            for of in (numbers(together), numbers(alone))
        )
        pd.testing.assert_series_equal(ours, theirs, **tolerance)
    notes = [record.notes for record in together.complete()[0]]
    assert [note["processes"] for note in notes] == [2] * len(notes)
    if launcher:
        again = table(tmp_path / "store.db", data, 1, *launcher)  # finds nothing to do, in all processes
        pd.testing.assert_series_equal(numbers(again), numbers(together))


def do(spec, place):
    return perform(spec, place, lambda *progress: None, lambda: False)


def test_stage_1_in_parts_is_stage_1(data, tmp_path):
    """It has no BatchNorm, so that accumulating gradients changes nothing but the order of sums."""
    spec = stage1(scale(data), 0, ("DINOv2", "SAM"))
    whole = do(spec, Place(tmp_path / "whole", data))
    parts = do(spec, Place(tmp_path / "parts", data, images=1))
    assert (whole["notes"]["parts"], parts["notes"]["parts"]) == (1, 4)
    for ours, theirs in zip(parts["metrics"], whole["metrics"], strict=True):
        assert ours["value"] == pytest.approx(theirs["value"], rel=1e-4)


def test_nyud_has_its_tasks_and_its_boundaries_as_lines_of_lines(data, tmp_path):
    nyud = scale(data, "nyud-v2")
    spec = multi_task(nyud, 0)
    seism = do(spec, Place(tmp_path, data))
    protocols = {m["task"]: m["protocol"] for m in seism["metrics"]}
    assert list(protocols) == ["semseg", "depth", "normals", "boundary"]
    assert "max_dist 0.011" in protocols["boundary"] and "truth seism" in protocols["boundary"]
    clean = do(replace(spec, nyud_truth="clean"), Place(tmp_path, data))
    values = [{m["task"]: m["value"] for m in found["metrics"]} for found in (seism, clean)]
    assert values[0]["semseg"] == values[1]["semseg"] and values[0]["boundary"] != values[1]["boundary"]


@pytest.mark.parametrize("fuse", ["addition", "concat", "mor"])
def test_upper_bounds_train_beside_frozen_teachers(data, tmp_path, fuse):
    found = do(upper_bound(scale(data), 0, ("DINOv2", "SAM"), fuse), Place(tmp_path, data))
    assert len(found["metrics"]) == 5
    assert ("gates" in found["notes"]) == (fuse == "mor")


def test_a_student_with_the_mlore_decoder_distils_and_learns(data, tmp_path):
    student = sak(scale(data), 0, ("CLIP",), decoder="mlore", distilled=False)
    assert len(do(student, Place(tmp_path, data))["metrics"]) == 5


def test_bf16_is_of_training_teachers_and_evaluation_alike(data, tmp_path, monkeypatch):
    seen = {}

    def spy(name, measure):
        def measured(*arguments, **options):
            seen.setdefault(name, []).append(torch.is_autocast_enabled("cpu"))
            return measure(*arguments, **options)

        return measured

    for name in ("similarity", "task_sums", "mean_gates"):
        monkeypatch.setattr(evaluation, name, spy(name, getattr(evaluation, name)))
    halves = with_choices(scale(data), precision="bf16")
    spec, exact = (sak(of, 0, ("DINOv2", "SAM")) for of in (halves, scale(data)))
    assert len({run.id for run in (*spec.lineage, *exact.lineage)}) == 4
    found = {
        run: [do(one, Place(tmp_path / str(n), data)) for one in run.lineage] for n, run in enumerate((spec, exact))
    }
    assert seen == {name: [True, False] for name in ("similarity", "task_sums", "mean_gates")}
    rounded, full = ([m["value"] for done in found[run] for m in done["metrics"]] for run in (spec, exact))
    assert rounded != full
    assert all(
        ("in bf16" in m["protocol"]) == (run is spec) for run in (spec, exact) for m in found[run][-1]["metrics"]
    )
    assert rounded == pytest.approx(full, rel=0.2)


def test_an_image_that_breaks_in_the_middle_is_one_sentence(data, tmp_path):
    folder = tmp_path / "data"
    archives.pascal_context(folder / "PASCALContext")
    archives.imagenet(folder / "imagenet")
    planned = multi_task(scale(folder), 0)
    image = next((folder / "PASCALContext" / "JPEGImages").glob("train*"))
    image.write_bytes(image.read_bytes()[:200])
    with pytest.raises(UserError, match=image.name):
        do(planned, Place(tmp_path / "runs", folder))


def test_data_that_changed_since_the_plan_are_noticed(data, tmp_path):
    planned = replace(multi_task(scale(data), 0), train_images=5)
    with pytest.raises(UserError, match="has 4 images, but the run was planned for 5"):
        do(planned, Place(tmp_path, data))


def test_the_papers_recipes():
    """Table 11, and where its schedules begin and end."""
    first, second = get("paper").distill, get("paper").tune
    epoch = 1_281_167 // 128
    assert (first.steps, first.batch_size, first.weight_decay, first.clip) == (30 * epoch, 128, 1e-2, None)
    assert first.lr_at(0) == pytest.approx(1.25e-7)
    assert first.lr_at(2 * epoch) == pytest.approx(1e-3)
    assert first.lr_at(first.steps) == pytest.approx(1e-5)
    assert (second.steps, second.batch_size, second.weight_decay, second.clip) == (40_000, 4, 1e-6, 10.0)
    assert second.lr_at(0) == 2e-5
    assert second.lr_at(10_000) == pytest.approx(2e-5 * 0.75**0.9)


def test_only_the_data_that_runs_read_must_be_there(tmp_path):
    archives.pascal_context(tmp_path / "PASCALContext")
    alone = scale(tmp_path)
    require_data([multi_task(alone, 0)], tmp_path)
    with pytest.raises(UserError, match="ImageNet-1k is not in"):
        require_data([stage1(alone, 0, ("DINOv2",))], tmp_path)


def test_a_launcher_must_start_as_many_processes_as_every_batch_can_use():
    runs = [multi_task(get("paper"), 0), stage1(get("paper"), 0, ("DINOv2",))]
    require_shares(runs, get("paper"), 4)
    with pytest.raises(UserError, match=r"8 processes cannot share a batch of 4: start 1, 2, 4, or .* --gpus 8"):
        require_shares(runs, get("paper"), 8)
    with pytest.raises(UserError, match="without a launcher"):
        require_shares(runs, get("mini"), 2)


def test_pascals_true_boundaries_are_the_edges_of_its_label_maps(data, tmp_path):
    spec = multi_task(scale(data), 0)
    held_out = open_split("pascal-context", "test", data)
    rows = [
        (truth, box)
        for batch in photographs.material(spec, tasks_of(spec), Place(tmp_path, data)).test()
        for truth, box in zip(batch["truth/boundary"].numpy(), batch["box"].tolist(), strict=True)
    ]
    assert len(rows) == len(held_out)
    for row, (truth, (top, left, height, width)) in enumerate(rows):
        labels = held_out.boundary_source(row)
        assert labels.shape == (height, width)
        expected = np.zeros_like(truth)
        for y, x in np.ndindex(height, width):
            beyond = labels[y : y + 2, x : x + 2]  # the pixel, right of it, below it, and right below it
            expected[top + y, left + x] = len(np.unique(beyond)) > 1
        np.testing.assert_array_equal(truth, expected)
