"""`compare` and `routers` as a user calls them, with images and without."""

import json

import pytest

from sakbench.runs import scales
from tests.conftest import ROOT

STORE = str(ROOT / "results" / "mini.jsonl")


def test_two_rows_of_the_shipped_results_are_compared_by_seeds(sakbench):
    done = sakbench("compare", "table7", "Multi-task baseline", "DINOv2+CLIP+SAM", "--store", STORE)
    assert done.returncode == 0, done.stderr
    assert "paired seeds" in done.stdout
    assert "DINOv2+CLIP+SAM is better" in done.stdout
    assert "Δm" in done.stdout
    told = json.loads(sakbench("compare", "table7", "DINOv2", "CLIP", "--store", STORE, "--json").stdout)
    assert told["seeds"] == [0, 1, 2]
    assert not told["images"]
    for one in told["differences"].values():
        assert one["low"] <= one["mean"] <= one["high"]
        assert one["distinguishable"] == (one["low"] > 0 or one["high"] < 0)


def test_a_row_that_leads_by_noise_is_not_distinguishable(sakbench):
    done = sakbench("compare", "table7", "DINOv2", "DINOv2+CLIP", "--store", STORE)
    assert "not distinguishable" in done.stdout


def test_the_routers_report_tells_chance_from_choice(sakbench):
    done = sakbench("routers", "table7", "--row", "DINOv2+CLIP+SAM", "--store", STORE)
    assert done.returncode == 0, done.stderr
    assert "beyond the seeds' noise" in done.stdout
    (told,) = json.loads(sakbench("routers", "table7", "--row", "CLIP", "--store", STORE, "--json").stdout)
    assert told["experts"] == ["stem", "CLIP"]
    assert told["seeds"] == 3
    assert 0 <= told["certain"] <= told["beyond_noise"] <= 4 * 5 * 2


def test_the_heads_of_one_student_are_no_seeds_of_each_other(sakbench):
    told = json.loads(sakbench("routers", "table27", "--store", STORE, "--json").stdout)
    assert {one["seeds"] for one in told} == {3}
    assert any("lin1" in one["row"] for one in told)
    assert any("lin4" in one["row"] for one in told)


def test_a_number_that_no_seed_changes_is_not_better_for_that(sakbench):
    told = json.loads(sakbench("compare", "table26", "CLIP", "ViT", "--store", STORE, "--json").stdout)
    assert told["differences"]["knn"]["low"] is None
    assert not told["differences"]["knn"]["distinguishable"]


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("compare", "table7", "DINOv2", "CLIPP"), "did you mean CLIP?"),
        (("compare", "table7", "CLIP", "CLIP"), "compared with itself"),
        (("compare", "table7", "clip", "SAM"), "did you mean CLIP?"),
        (("compare", "table8", "a", "b"), "the store holds nothing of table8"),
        (("compare", "table7", "CLIP", "SAM", "--dataset", "miniworld-nyud"), "table7 --dataset miniworld-nyud` fills"),
        (("compare", "table14", "RADIO", "SAK", "--scale", "paper"), "`sakbench run table14 --scale paper` fills"),
        (("compare", "table14", "RADIO", "SAKK", "--scale", "mini"), "did you mean SAK?"),
        (("compare", "tabel7", "a", "b"), "did you mean table7?"),
        (("routers", "table7", "--row", "Multi-task baseline"), "no run of Multi-task baseline that"),
        (("routers", "table27", "--dataset", "miniworld-pascal"), "the store holds nothing of table27"),
    ],
)
def test_what_cannot_be_is_one_sentence(sakbench, words, said):
    done = sakbench(*words, "--store", STORE)
    assert done.returncode == 2
    assert said in done.stderr
    assert len(done.stderr.splitlines()) == 1


def test_runs_that_left_their_images_are_compared_by_them(sakbench, tmp_path, monkeypatch, tiny):
    monkeypatch.setitem(scales.SCALES, "mini", tiny)
    monkeypatch.setitem(scales._DATASETS, "mini", {tiny.dataset: tiny})
    from sakbench.experiments.rows import Experiment, Row, multi_task, single_task
    from sakbench.report.running import Request, run

    def build(scale, seed):
        return [
            Row("Single-task baseline", tuple(single_task(scale, seed, task) for task in scale.tasks)),
            Row("Multi-task baseline", (multi_task(scale, seed),)),
        ]

    table = Experiment("table7", "A table", build)
    monkeypatch.setattr("sakbench.experiments.tables.EXPERIMENTS", {"table7": table})
    store = tmp_path / "store.db"
    assert run(table, tiny, Request(store, "again", seeds=2, executor="here")) == 0
    words = ("compare", "table7", "Single-task baseline", "Multi-task baseline", "--store", str(store))
    told = json.loads(sakbench(*words, "--draws", "50", "--json").stdout)
    assert told["images"]
    assert set(told["differences"]) == {*tiny.tasks, "Δm"}
    assert all(one["low"] <= one["high"] for one in told["differences"].values())
    again = json.loads(sakbench(*words, "--draws", "50", "--json").stdout)
    assert again == told


def test_answers_are_compared_by_the_images_that_they_are_about(sakbench, tmp_path, monkeypatch, tiny):
    monkeypatch.setitem(scales.SCALES, "mini", tiny)
    monkeypatch.setitem(scales._DATASETS, "mini", {tiny.dataset: tiny})
    from sakbench.experiments.rows import Experiment, Row, answering
    from sakbench.report.running import Request, run

    table = Experiment(
        "table28",
        "A table",
        lambda scale, seed: [
            Row("sees", (answering(scale, seed),)),
            Row("blind", (answering(scale, seed, blind=True),)),
        ],
        extras=("gqa", "pope", "vqav2"),
    )
    monkeypatch.setattr("sakbench.experiments.tables.EXPERIMENTS", {"table28": table})
    store = tmp_path / "store.db"
    assert run(table, tiny, Request(store, "again", executor="here")) == 0
    words = ("compare", "table28", "blind", "sees", "--store", str(store), "--draws", "50")
    told = json.loads(sakbench(*words, "--json").stdout)
    assert told["images"]
    assert set(told["differences"]) == {"gqa", "pope", "vqav2"}
    assert all(one["low"] <= one["mean"] <= one["high"] for one in told["differences"].values())
    done = sakbench(*words)
    assert "one seed says nothing" in done.stdout
    assert "what another training would do is not in them" in " ".join(done.stdout.split())
