"""Tables as TOML files: the paper's, a user's own, and whatever a file can have wrong."""

import json
from pathlib import Path

import pytest

from sakbench.cli import main
from sakbench.errors import UserError
from sakbench.experiments import tables
from sakbench.experiments.files import parse
from sakbench.runs.scales import MINI, PAPER, SCALES, get
from sakbench.store import published

MINE = """
title = "What γ does to CLIP's student"
baseline = "alone"
seeds = 2

[defaults]
model = "sak"
teachers = ["CLIP"]

[[row]]
name = "alone"
model = "single-task"

[[row]]
name = "γ = 2"
gamma = 2.0

[[row]]
name = "a quarter of the labels"
fraction = 0.25
steps = 0.5
"""


def test_rows_become_runs_with_the_overrides_alone_changed():
    experiment = parse(MINE, "mine", "mine.toml")
    alone, gamma, quarter = experiment.build(MINI, 3)
    usual = tables.get("table7").build(MINI, 3)
    assert alone.runs == usual[0].runs  # the very runs of the paper's table: nothing is trained twice
    (clip,) = next(row.runs for row in usual if row.name == "CLIP")
    assert (gamma.runs[0].gamma, gamma.runs[0].start) == (2.0, clip.start)
    (few,) = quarter.runs
    assert (few.train_images, few.recipe.steps) == (round(MINI.train_images / 4), MINI.tune.steps // 2)
    assert few.start == clip.start  # stage 1 needs no labels
    assert (experiment.seeds, experiment.baseline) == (2, "alone")


def test_every_published_row_that_a_table_names_is_published():
    known = published.frame()
    rows = {(str(table), str(row)) for table, row in zip(known["table"], known["row"], strict=True)}
    for experiment in tables.EXPERIMENTS.values():
        for scale in experiment.scales:
            named = {row.published for row in experiment.build(SCALES[scale], 0) if row.published}
            assert named <= rows, experiment.name


def test_a_comparison_holds_every_published_row_once_and_trains_on_its_own_data_set():
    table14 = tables.get("table14")
    rows = table14.build(get("paper", "nyud-v2"), 0)
    assert [row.name for row in rows] == published.table("table14")["row"].unique().tolist()
    assert {run.dataset for row in rows for run in row.runs} == {"nyud-v2"}
    sak = next(row for row in rows if row.name == "SAK").runs[0]
    assert (sak.backbone, dict(sak.teachers)["CLIP"]) == (PAPER.vit, PAPER.sizes["ViT-L"].teachers["CLIP"])


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        (("gamma = 2.0", "gama = 2.0"), "key of row 2 of mine.toml, whose model is sak.*gamma"),
        (('model = "single-task"', 'model = "singletask"'), "model of row 1 of mine.toml.*single-task"),
        (('["CLIP"]', '["CLIPP"]'), "model for teachers of row 2 of mine.toml named 'CLIPP': did you mean CLIP"),
        (("seeds = 2", 'columns = ["rep_simm"]'), "quantity for columns of mine.toml.*rep_sim"),
        (('["CLIP"]', '["CLIP", "CLIP"]'), "twice"),
        (('["CLIP"]', '"CLIP"'), "teachers of row 2 of mine.toml must be a list"),
        (('baseline = "alone"', 'baseline = "alon"'), "alone"),
        (("fraction = 0.25", "fraction = 25"), "above 0 and at most 1"),
        (("fraction = 0.25", 'first = ["SAM"]'), "first of row 3"),
        (("gamma = 2.0", "gamma = nan"), "finite"),
        (("gamma = 2.0", "gamma = true"), "must be a number"),
        (("gamma = 2.0", f"gamma = 1{'0' * 400}"), "too large"),
        (("gamma = 2.0", f"gamma = 1{'0' * 5000}"), "is no TOML"),
        (("seeds = 2", "seeds = 0"), "from 1 to 100"),
        (("seeds = 2", 'scales = ["huge"]'), "scale of mine.toml"),
        (("seeds = 2", "seeds ="), "is no TOML"),
        (('name = "γ = 2"', 'name = "alone"'), "two rows named alone"),
        (('name = "γ = 2"', 'name = "\\u0007"'), "printable"),
        (('title = "What γ does to CLIP\'s student"', ""), "has no title"),
        (("[defaults]", "[defaults]\ngama = 2.0"), "key of defaults of mine.toml, which no row has.*gamma"),
        (("gamma = 2.0", "adapter_paths = false"), "row 2 of mine.toml contradicts itself: adapter_paths"),
        (("gamma = 2.0", "gamma = 2.0\nfrozen = true"), "row 2 of mine.toml contradicts itself: gamma"),
        (("gamma = 2.0", 'teacher_size = "ViT-S"'), "no teachers of that size"),
        (("gamma = 2.0", 'model = "pairs"'), "columns of mine.toml is missing: rows of model pairs"),
    ],
)
def test_what_a_file_cannot_say_is_refused_in_one_sentence(change, sentence):
    assert change[0] in MINE
    with pytest.raises(UserError, match=sentence) as refusal:
        parse(MINE.replace(*change), "mine", "mine.toml")
    assert "\n" not in str(refusal.value).strip()


def test_a_users_file_is_read_by_its_name(tmp_path: Path):
    file = tmp_path / "mine.toml"
    file.write_text(MINE)
    experiment = tables.get(str(file))
    assert (experiment.name, experiment.command) == ("mine", f"run {file}")
    (tmp_path / "table7.toml").write_text(MINE)
    with pytest.raises(UserError, match="named like the paper's table7"):
        tables.get(str(tmp_path / "table7.toml"))
    file.write_text(f"account = true\n{MINE}")
    with pytest.raises(UserError, match=r"account of .* leave it out"):
        tables.get(str(file))
    file.write_text(MINE.replace('single-task"', 'single-task"\npublished = ["table7", "DINO"]'))
    with pytest.raises(UserError, match=r"row of table7, as .*mine.toml says in published, named 'DINO'.*DINOv2"):
        tables.get(str(file))
    with pytest.raises(UserError, match=r"did you mean .*mine.toml"):
        tables.get(str(file.with_suffix("")))
    by_zoo_name = MINE.replace('"CLIP"', '"mini_vit_b.clip"').replace(
        "seeds = 2", 'columns = ["rep_sim mini_vit_b.clip"]'
    )
    file.write_text(by_zoo_name.replace('single-task"', 'single-task"\npublished = ["table12", "ViT ST Full"]'))
    assert tables.get(str(file)).build(MINI, 0)[0].published == ("table12", "ViT ST Full")
    file.write_text(MINE, encoding="utf-8-sig")  # with a byte order mark
    assert tables.get(str(file)).title == experiment.title
    with pytest.raises(UserError, match="cannot be read"):
        tables.get(str(tmp_path / "absent.toml"))


def test_a_row_that_no_run_can_be_is_refused_before_anything_is_trained():
    row = parse(MINE.replace("gamma = 2.0", "steps = 0.0001"), "mine", "mine.toml")
    with pytest.raises(UserError, match=r"the row γ = 2 of mine.toml cannot be: .*steps"):
        row.build(MINI, 0)


def test_brackets_in_a_title_are_no_markup(tmp_path, capsys):
    file = tmp_path / "mine.toml"
    file.write_text(MINE.replace("CLIP's student", "CLIP's student [/ours]"))
    with pytest.raises(SystemExit, match="0"):
        main(["run", str(file), "--dry-run", "--store", str(tmp_path / "s.db")])
    assert "student [/ours]" in capsys.readouterr().out


def test_tables_for_which_nothing_is_trained_are_accounted_for(capsys):
    printed = []
    for command in ("run", "show"):
        with pytest.raises(SystemExit, match="0"):
            main([command, "table22", "--json"])
        printed.append(json.loads(capsys.readouterr().out))
    assert printed[0] == printed[1]
    assert all(entry["agrees"] for entry in printed[0])
