"""The studies on small stores of made-up numbers: what is drawn is what the store holds; or a sentence says why not."""

import importlib
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from sakbench import backbones
from sakbench.data import miniworld
from sakbench.data.miniworld.pairs import Pairs, Pictures
from sakbench.experiments import tables
from sakbench.metrics import IGNORE
from sakbench.report.running import Request, run
from sakbench.runs import folder, students
from sakbench.runs.scales import MINI, get
from sakbench.store import Measurement, RunRecord, open_store, published
from sakbench.tasks.colouring import label_colours
from sakbench.tasks.names import TASKS
from tests.plots.test_figures import bars_of

STUDIES = Path(__file__).parent.parent.parent / "studies"
sys.path.insert(0, str(STUDIES))  # as Python does for a script
STORED = ("bias_profile", "data_percentage", "gamma", "gates", "methods", "qualitative", "resolution", "similarity")
bias_profile, data_percentage, gamma, gates, methods, qualitative, resolution, similarity = map(
    importlib.import_module, STORED
)
COMPUTED = ("norm_maps", "object_size", "texture_shape")
norm_maps, object_size, texture_shape = map(importlib.import_module, COMPUTED)
NAMES = STORED + COMPUTED

VALUES = {"semseg": 20.0, "parsing": 10.0, "saliency": 70.0, "normals": 40.0, "boundary": 50.0}


@pytest.fixture
def store(tmp_path):
    """Puts a row of a table, with a run of these values, into a new store."""
    path = tmp_path / "store.db"
    opened = open_store(path, write=True)

    def add(table, row, values, *, seed=0, baseline=False, **more):
        run = f"{table}-{row}-{seed}".encode().hex()[-60:]
        metrics = tuple(
            Measurement(task, TASKS[task].metric, value, TASKS[task].unit, TASKS[task].higher_is_better)
            if task in TASKS
            else Measurement(task, "cosine", value, "", True)
            for task, value in values.items()
        )
        place = {"seed": seed, "scale": "mini", "dataset": "miniworld-pascal"}
        record = RunRecord(id=run, kind="tasks", label="a run", spec={}, status="done", metrics=metrics, **place)
        opened.add(replace(record, **more))
        runs = dict.fromkeys(values, run)
        opened.record_row(table, row, position=0, runs=runs, baseline=baseline, **place)

    add.path = str(path)
    return add


def better(percent):
    """Values that many percent better than VALUES in each task."""
    return {t: v * (1 + (percent if TASKS[t].higher_is_better else -percent) / 100) for t, v in VALUES.items()}


def draw(study, *words, tmp_path):
    """The study's picture, from its command line."""
    study.main([*words, "--output", str(tmp_path / "picture.png")])
    assert (tmp_path / "picture.png").read_bytes().startswith(b"\x89PNG")


def test_bars_of_the_bias_profile(store, tmp_path):
    for seed, noise in ((0, -1), (1, 1)):
        store("table12", "ViT Freeze", VALUES, seed=seed)
        store("table12", "DINOv2 Freeze", better(10 + noise) | {"semseg": 20 * (1.15 + noise / 100)}, seed=seed)
    figure = bias_profile.measured(bias_profile.common.frame(store.path))
    ((label, bars),) = bars_of(figure.axes[0]).items()
    assert label == "DINOv2   μ +11.0   σ 2.0   μ/σ +5.50"
    assert [bar.get_height() for bar in bars] == pytest.approx([15, 10, 10, 10, 10])
    draw(bias_profile, "--store", store.path, "--radar", tmp_path=tmp_path)


def test_the_published_bias_profile_is_figure_1():
    labels = bars_of(bias_profile.paper().axes[0])
    printed = published.table("figure1").set_index(["model", "task"])["value"]
    for model in ("DINOv2", "CLIP", "SAK"):
        (label,) = [label for label in labels if label.startswith(model)]
        mean, sd, ratio = (printed[model, f"bias_{name}"] for name in ("mean", "sd", "ratio"))
        assert label == f"{model}   μ +{mean:.1f}   σ {sd:.1f}   μ/σ +{ratio:.2f}"


@pytest.mark.parametrize(
    ("study", "rows", "places"),
    [
        (data_percentage, {"25% SAK": -4, "100% SAK": 2, "25% RADIO": -8, "100% RADIO": 1}, [25, 100]),
        (gamma, {"γ = 0.5": 1, "γ = 4.0": -3}, [0.5, 4]),
    ],
)
def test_curves_of_delta_m(study, rows, places, store, tmp_path):
    table = study.EXPERIMENTS[0]
    for seed, noise in ((0, -0.5), (1, 0.5)):
        store(table, "Single-task baseline", VALUES, seed=seed, baseline=True)
        for row, gain in rows.items():
            store(table, row, better(gain + noise), seed=seed)
    (title, panels), *_ = study.measured(study.common.frame(store.path)).items()
    assert title == "measured at scale mini on miniworld-pascal, 2 seeds"
    assert [name.split()[0] for name in panels] == [*VALUES, "Δm"]
    curve = panels["Δm (%) ↑"]["SAK"]
    assert list(curve.x) == places
    assert curve.y == pytest.approx([gain for row, gain in rows.items() if "RADIO" not in row])
    assert curve.spread == pytest.approx([np.sqrt(0.5)] * 2)
    draw(study, "--store", store.path, tmp_path=tmp_path)


@pytest.mark.parametrize("study", [data_percentage, gamma])
def test_published_curves(study):
    ((_, panels),) = study.paper().items()
    curve = panels["Δm (%) ↑"]["SAK"]
    printed = published.table(study.EXPERIMENTS[0]).query("task == 'delta_m' and model == 'SAK'")["value"]
    assert curve.y == printed.tolist() and curve.spread is None
    assert sorted(curve.x) == curve.x and len(curve.x) == len(printed)


def test_dots_of_the_methods(store, tmp_path):
    for seed, noise in ((0, -1), (1, 1)):
        store("table13", "Single-task baseline", VALUES, seed=seed, baseline=True)
        store("table13", "SAK", better(5 + noise), seed=seed)
    ((_, rows),) = methods.measured(methods.common.frame(store.path)).items()
    assert list(rows) == ["SAK"]
    sak = rows["SAK"]
    assert sak.tasks == pytest.approx(dict.fromkeys(VALUES, 5))
    assert sak.spreads == pytest.approx(dict.fromkeys(VALUES, np.sqrt(2)))
    assert (sak.delta_m, sak.delta_m_spread) == pytest.approx((5, np.sqrt(2)))
    draw(methods, "--store", store.path, tmp_path=tmp_path)


def test_published_delta_m_is_the_mean_of_the_dots():
    blocks = methods.paper()
    assert [len(rows) for rows in blocks.values()] == [10, 11]
    for rows in blocks.values():
        for gains in rows.values():
            assert gains.delta_m == pytest.approx(np.mean([*gains.tasks.values()]), abs=0.02)


def test_bars_of_the_gates(store, tmp_path):
    spec = {"teachers": [["DINOv2", "mini_vit_b.dinov2"]], "tasks": [*VALUES]}
    for seed, stem in ((0, 0.6), (1, 0.8)):
        noted = np.full((4, 5, 2), [stem, 1 - stem]).tolist()
        store("figure7", "SAK", VALUES, seed=seed, spec=spec, notes={"gates": noted})
    figure = gates.figure(gates.measured(store.path), levels=(1, 4))
    assert [axes.get_title() for axes in figure.axes] == ["level 1 (lowest)", "level 4 (highest)"]
    drawn = {name: [bar.get_width() for bar in bars] for name, bars in bars_of(figure.axes[0]).items()}
    assert drawn == {"stem": pytest.approx([70] * 5), "DINOv2": pytest.approx([30] * 5)}
    draw(gates, "--store", store.path, tmp_path=tmp_path)


def test_bars_of_the_similarity(store):
    for seed, noise in ((0, -0.01), (1, 0.01)):
        for row, cosine in (("no TSAP", 0.5), ("TSAP", 0.9)):
            store("table17", row, dict.fromkeys(map("rep_sim {}".format, MINI.teachers), cosine + noise), seed=seed)
    blocks = similarity.measured(similarity.common.frame(store.path)) | similarity.paper()
    means, spreads = blocks["measured, miniworld-pascal"]["TSAP"]
    assert means == pytest.approx([0.9] * 3) and spreads == pytest.approx([0.01 * np.sqrt(2)] * 3)
    assert blocks[similarity.PAPER]["no TSAP"] == ([0.3566, 0.5159, 0.1306], None)


def test_cka_of_the_teachers():
    values = similarity.cka(["ViT", "SAM"], images=2)
    assert values.shape == (4, 2, 2)
    assert np.allclose(values, values.transpose(0, 2, 1)) and np.allclose(values[:, 0, 0], 1)
    assert (values[:, 0, 1] > 0).all() and (values[:, 0, 1] < 0.99).all()


def test_what_sam_has_learned_is_what_it_gains_beyond_the_control(store, tmp_path, capsys):
    for row, gain in (("ViT", 0), ("random weights at SAM's resolution", 4), ("SAM", 10)):
        store("table12", f"{row} Freeze", better(gain))
    draw(resolution, "--store", store.path, tmp_path=tmp_path)
    learned = next(line for line in capsys.readouterr().out.splitlines() if "SAM has learned" in line)
    assert learned.split()[-5:] == ["+6.0"] * 5


@pytest.fixture(scope="module")
def few_models():
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(texture_shape.frozen, "MODELS", {"SAM": MINI.teachers["SAM"]})
        yield


def test_cats_that_become_dogs_change_where_they_are(monkeypatch, tmp_path, tiny):
    usual = tables.get("figure6")
    experiment = replace(usual, build=lambda scale, seed: usual.build(scale, seed)[-1:])
    monkeypatch.setattr(norm_maps.tables, "get", lambda name: {"figure6": experiment}[name])
    monkeypatch.setattr(norm_maps, "MINI", tiny)
    assert run(experiment, tiny, Request(tmp_path / "store.db", "again", jobs=1, seeds=1)) == 0
    numbers = open_store(tmp_path / "store.db", write=False).frame().set_index("task")["value"]
    assert numbers["change inside"] > 2 * numbers["change outside"] and 50 < numbers["share inside"] < 100
    draw(norm_maps, "--runs", str(tmp_path / "runs"), tmp_path=tmp_path)


def test_maps_that_are_not_there(tmp_path, capsys):
    with pytest.raises(SystemExit) as end:
        draw(norm_maps, "--runs", str(tmp_path), tmp_path=tmp_path)
    assert end.value.code == 2 and "`sakbench run figure6`" in capsys.readouterr().err


def test_objects_are_whole_and_have_a_size():
    split = object_size.data.load(MINI.dataset, "test", 40)
    seen = object_size.objects(split, 40)
    for scene in range(40):
        covered = seen.mask[seen.scene == scene].sum(0)
        assert covered.max() <= 1
        labels = split.labels["semseg"][scene]
        assert ((covered > 0) <= (labels > 0)).all() and (labels[covered == 0] > 0).sum() < 20
    sides = np.sqrt(seen.mask.mean((1, 2)))
    assert all(object_size.EDGES[p] <= s <= object_size.EDGES[p + 1] for p, s in zip(seen.size, sides, strict=True))


def test_a_vector_is_moved_by_its_texture_as_by_any_other_object_or_not_at_all():
    rng = np.random.default_rng(0)
    same = np.tile(rng.normal(size=(1, 400, 8)), (2, 1, 1))
    other = rng.normal(size=(2, 400, 8))
    assert texture_shape.moved_by_texture([same]) == 0
    assert texture_shape.moved_by_texture([other]) == pytest.approx(1, abs=0.1)
    assert texture_shape.above_chance(1 / 3, 3) == pytest.approx(0) and texture_shape.above_chance(1, 2) == 100


def test_silhouettes_and_textures_are_told_apart_by_hand(few_models, monkeypatch):
    """With features that are the object's mean colour and nothing else, texture is read and the silhouette is not."""

    def colours(model, pictures):
        return [pictures.images.transpose(0, 3, 1, 2)[:, :, ::8, ::8].astype(float)]

    monkeypatch.setattr(texture_shape.frozen, "level_maps", colours)
    rng = np.random.default_rng(0)

    def made(count):
        dark, light = (
            np.full((count, 128, 128, 3), level) + rng.integers(0, 20, (count, 1, 1, 3)) for level in (40, 200)
        )
        return Pairs(Pictures(dark), Pictures(light), np.ones((count, 128, 128), bool), np.arange(count))

    train, test = ({name: made(40) for name in texture_shape.LOOKALIKES} for _ in range(2))
    hits = texture_shape.answers(train, test)["SAM"].hits
    assert hits["texture"].mean() == 1 and hits["silhouette"].mean() < 0.5
    assert len(hits["texture"]) == len(hits["silhouette"]) == 3 * 2 * 40


@pytest.fixture
def few_scenes(monkeypatch):
    """Three scenes of mini's test splits, for weights that nobody has trained."""
    monkeypatch.setattr(qualitative, "get_scale", lambda *names: replace(get(*names), test_images=3))


def test_predictions_are_kept_and_drawn_again(few_scenes, tmp_path):
    torch.manual_seed(0)
    scale = qualitative.get_scale("mini", "miniworld-nyud")
    for spec in qualitative._models(scale, "figure11").values():
        folder.write(tmp_path / "runs" / spec.id, students.build(spec, backbones.create), spec)
    kept = tmp_path / "kept.npz"
    words = ("--predictions", str(kept))
    draw(qualitative, "--runs", str(tmp_path / "runs"), "--scenes", "2", "0", *words, tmp_path=tmp_path)
    pictures, scenes = qualitative.kept(kept)
    assert scenes == [2, 0] and list(pictures) == ["miniworld-nyud"]
    rows = pictures["miniworld-nyud"]
    assert list(rows) == ["image", "semseg", "depth", "normals", "boundary"]
    assert list(rows["depth"]) == ["ground truth", "ViT", "DINOv2", "CLIP", "SAM", "RADIO", "Theia", "SAK"]
    split = qualitative.data.load("miniworld-nyud", "test", 3)
    assert np.array_equal(rows["image"][""], split.images[[2, 0]])
    key = qualitative.figure(pictures, scenes, tasks=["semseg"]).subfigs[0].legends[0]
    truth = miniworld.targets(split, np.array([2]), ["semseg"])["semseg"]
    labels = [label for label in np.unique(truth) if label != IGNORE]
    colours = label_colours(np.array([labels]), len(miniworld.INDOOR_CLASSES))[0] / 255
    assert np.allclose([patch.get_facecolor()[:3] for patch in key.get_patches()], colours)
    first, *others = (miniworld.INDOOR_CLASSES[label] for label in labels)
    assert [text.get_text() for text in key.get_texts()] == [f"semseg: {first}", *others]
    figure = qualitative.figure(pictures, scenes, tasks=["depth"])
    shown = [axes.images[0].get_array() for axes in figure.axes]
    assert np.array_equal(shown[8], rows["depth"]["SAK"][0]) and len(shown) == 2 * 9
    first = (tmp_path / "picture.png").read_bytes()
    draw(qualitative, *words, tmp_path=tmp_path)  # without weights
    assert (tmp_path / "picture.png").read_bytes() == first


@pytest.mark.parametrize(
    ("study", "command"),
    [
        (bias_profile, "run figure1"),
        (data_percentage, "run table18"),
        (gamma, "run table20"),
        (gates, "run figure7"),
        (methods, "run table13"),
        (resolution, "run table12 --rows Freeze"),
        (similarity, "run table17"),
    ],
)
def test_a_store_without_the_numbers(study, command, store, tmp_path, capsys):
    store("table7", "CLIP", VALUES)
    with pytest.raises(SystemExit) as end:
        draw(study, "--store", store.path, tmp_path=tmp_path)
    assert end.value.code == 2
    said = capsys.readouterr().err
    assert f"`sakbench {command}`" in said and said.count("\n") == 1
    assert not (tmp_path / "picture.png").exists()


@pytest.mark.parametrize("study", [data_percentage, gamma, methods])
def test_a_store_with_nothing_but_the_baseline(study, store, tmp_path, capsys):
    store(study.EXPERIMENTS[0], "Single-task baseline", VALUES, baseline=True)
    with pytest.raises(SystemExit) as end:
        draw(study, "--store", store.path, tmp_path=tmp_path)
    assert end.value.code == 2 and "`sakbench run table" in capsys.readouterr().err


def test_missing_weights_and_predictions(tmp_path, capsys):
    for words, expected in (
        (
            ("--runs", str(tmp_path)),
            "lacks the weights of DINOv2, CLIP, SAM, RADIO, Theia, SAK: `sakbench run figure9`",
        ),
        (("--predictions", str(tmp_path / "none.npz")), "`sakbench run figure9`"),
    ):
        with pytest.raises(SystemExit) as end:
            draw(qualitative, *words, tmp_path=tmp_path)
        assert end.value.code == 2 and expected in capsys.readouterr().err


def test_scenes_are_chosen_where_they_are_predicted(tmp_path, capsys):
    with pytest.raises(SystemExit) as end:
        draw(qualitative, "--scenes", "0", tmp_path=tmp_path)
    assert end.value.code == 2 and "--scenes needs --runs" in capsys.readouterr().err


@pytest.mark.parametrize("experiment", [e for e in tables.EXPERIMENTS.values() if e.drawn_by], ids=lambda e: e.name)
def test_the_study_that_a_table_names_draws_it(experiment):
    study = importlib.import_module(experiment.drawn_by)
    known = {
        bias_profile: (*bias_profile.EXPERIMENTS,),
        gates: [table for table, _ in gates.ROWS],
        qualitative: ["figure9", "figure10", "figure11"],
        similarity: ["table17"],
        norm_maps: ["figure6"],
    }
    assert experiment.name in known.get(study, getattr(study, "EXPERIMENTS", ()))


@pytest.mark.parametrize("name", NAMES)
def test_help(name, capsys):
    with pytest.raises(SystemExit) as end:
        importlib.import_module(name).main(["--help"])
    assert end.value.code == 0 and f"python studies/{name}.py" in capsys.readouterr().out


def test_a_study_is_a_script(tmp_path):
    command = [sys.executable, str(STUDIES / "gamma.py"), "--published", "--output", "gamma.png"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout == "gamma.png\n" and (tmp_path / "gamma.png").exists()
