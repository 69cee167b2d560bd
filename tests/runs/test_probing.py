"""Classifiers and depth probes as runs: in mini, at scale paper on small files, and stopped in the middle."""

from dataclasses import replace

import pytest
import torch

from sakbench.errors import UserError
from sakbench.experiments.preparation import of_the_data
from sakbench.experiments.rows import classification, depth_probe
from sakbench.runs import students
from sakbench.runs.perform import Stopped, perform
from sakbench.runs.place import Place
from sakbench.runs.scales import MINI, get
from sakbench.runs.spec import RunSpec
from tests.data import archives


def do(run, place, stop=lambda: False):
    for one in run.lineage:
        result = perform(one, place, lambda progress: None, stop)
    return {metric["task"]: metric["value"] for metric in result["metrics"]}, result


@pytest.mark.parametrize("teachers", [(), ("DINOv2", "SAM")])
def test_a_run_of_classifiers_gives_two_accuracies(tiny, tmp_path, teachers):
    run = classification(tiny, 0, tiny.teachers["CLIP"] if not teachers else None, teachers=teachers)
    assert RunSpec.from_dict(run.to_dict()).id == run.id
    numbers, result = do(run, Place(tmp_path))
    assert set(numbers) == {"accuracy", "knn"}
    assert all(0 <= value <= 100 for value in numbers.values())
    assert len(result["notes"]["accuracies"]) == 13 * (2 if teachers else 4)
    assert result["checkpoint"] is None
    assert "val 12" in result["metrics"][0]["protocol"]


def test_a_stopped_run_goes_on_to_the_same_numbers(tiny, tmp_path):
    run = classification(tiny, 1, tiny.teachers["DINOv2"])
    expected, _ = do(run, Place(tmp_path / "one"))
    asked = 0

    def soon():
        nonlocal asked
        asked += 1
        return asked > 2

    with pytest.raises(Stopped):
        do(run, Place(tmp_path / "two"), soon)
    assert list((tmp_path / "two").rglob("step-*"))
    found, _ = do(run, Place(tmp_path / "two"))
    assert found == expected


@pytest.mark.parametrize("teachers", [(), ("DINOv2",)])
@pytest.mark.parametrize("layers", [1, 4])
def test_a_depth_probe_gives_the_number_of_its_layers(tiny, tmp_path, teachers, layers):
    scale = replace(tiny, dataset="miniworld-nyud", tasks=("depth",))
    run = depth_probe(scale, 0, layers, teachers=teachers)
    numbers, result = do(run, Place(tmp_path))
    assert set(numbers) == {f"depth_lin{layers}"}
    assert 0 < numbers[f"depth_lin{layers}"] < 10
    assert "mean of the images' own" in result["metrics"][0]["protocol"]


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    folder = tmp_path_factory.mktemp("data")
    archives.nyu_depth(folder / "nyu", train=2, test=1)
    archives.imagenet(folder / "imagenet", flat=False)
    return folder


def small(dataset, data):
    paper = replace(
        get("paper", dataset),
        vit=MINI.vit,
        teachers=MINI.teachers,
        sizes={},
        rivals={},
        distill_size=(48, 48),
        distill=replace(get("paper").distill, steps=2, batch_size=4, warmup=1),
        depth=replace(get("paper").depth, steps=2, batch_size=2, warmup=1),
        classify=replace(get("paper").classify, steps=2, batch_size=4),
    )
    return of_the_data(paper, data)


@pytest.mark.parametrize("teachers", [(), ("DINOv2",)])
def test_photographs_of_nyud_are_tested_larger_than_they_were_learned(data, tmp_path, teachers):
    run = depth_probe(small("nyu-depth", data), 0, 4, teachers=teachers)
    assert (run.size, students.tested_size(run)) == ((416, 544), (480, 640))
    numbers, result = do(run, Place(tmp_path, data))
    assert 0 < numbers["depth_lin4"] < 10
    assert "Eigen's crop" in result["metrics"][0]["protocol"]


@pytest.mark.parametrize("teachers", [(), ("DINOv2",)])
def test_photographs_of_imagenet_are_classified(data, tmp_path, monkeypatch, teachers):
    for room in ("students", "classification"):
        monkeypatch.setattr(f"sakbench.runs.{room}.class_count", lambda spec: 2)
    run = classification(small("imagenet-1k", data), 0, teachers=teachers)
    assert run.size == (224, 224)
    torch.manual_seed(0)
    numbers, result = do(run, Place(tmp_path, data))
    assert 0 <= numbers["accuracy"] <= 100
    assert "best of" in result["metrics"][0]["protocol"]
    assert "test itself" in result["metrics"][0]["protocol"]


def test_the_tables_say_what_is_missing(sakbench, tmp_path):
    for table, name in (("table26", "ImageNet-1k"), ("table27", "NYUd")):
        done = sakbench("run", table, "--scale", "paper", "--data", str(tmp_path))
        assert done.returncode == 2
        assert name in done.stderr
        assert len(done.stderr.splitlines()) == 1
    done = sakbench("run", "table26", "--dataset", "miniworld-nyud")
    assert done.returncode == 2
    assert "table26 is about ImageNet-1k" in done.stderr


def test_a_name_of_a_decoder_that_cannot_be_is_refused():
    run = depth_probe(replace(MINI, dataset="miniworld-nyud"), 0, 1)
    with pytest.raises(UserError, match="decoder"):
        RunSpec.from_dict({**run.to_dict(), "decoder": "lin2"})
