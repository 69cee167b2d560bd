"""The commands as a user calls them: what they print, their exit codes, and every kind of bad input."""

import json
import sqlite3
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import timm
from safetensors.torch import save_file

from sakbench.errors import UserError
from sakbench.experiments import tables
from sakbench.runs import devices
from sakbench.runs.scales import MINI
from sakbench.store import Measurement, export_jsonl, open_store
from sakbench.tasks import info
from tests.data import archives

SEEDS = (0, 1, 2)
HEAVY = {"torch", "torchvision", "timm", "accelerate", "pandas", "sqlalchemy", "scipy", "numba", "skimage", "sklearn"}
PICTURES = {"matplotlib", "seaborn"}
HEAVY |= PICTURES | {"huggingface_hub"}
TWO = {"WORLD_SIZE": "2", "RANK": "1"}


@pytest.fixture(scope="session")
def stored(tmp_path_factory):
    """An export that holds Table 7 for three seeds: runs with today's specs, numbers made up from their ids."""
    folder = tmp_path_factory.mktemp("stored")
    store = open_store(folder / "store.db", write=True)
    for seed in SEEDS:
        for position, row in enumerate(tables.get("table7").build(MINI, seed)):
            found = {}
            for spec in row.runs:
                about = {"kind": spec.kind, "label": row.name, "seed": seed, "scale": "mini", "dataset": spec.dataset}
                record = store.begin(spec.id, spec.to_dict(), **about)
                numbers = [measured(task, int(spec.id[:4], 16)) for task in spec.tasks]
                store.finish(replace(record, duration_s=60.0, peak_memory_mb=900.0, metrics=tuple(numbers)))
                found.update(dict.fromkeys(spec.tasks, spec.id))
            place = {"position": position, "scale": "mini", "dataset": MINI.dataset, "seed": seed}
            store.record_row("table7", row.name, **place, runs=found, baseline=row.name == "Single-task baseline")
    export_jsonl(store, folder / "stored.jsonl")
    return str(folder / "stored.jsonl")


def measured(task: str, number: int) -> Measurement:
    about = info(task)
    return Measurement(task, about.metric, 20 + number / 3000, about.unit, about.higher_is_better, "made up")


def complains(done, *words):
    """One sentence on standard error, exit code 2, no traceback."""
    assert done.returncode == 2, done.stderr
    assert "Traceback" not in done.stderr
    assert done.stderr.startswith("sakbench: ")
    for word in words:
        assert word in done.stderr
    return True


def test_a_misspelt_table_gets_a_suggestion(sakbench, tmp_path):
    assert complains(sakbench("run", "tabel7"), "did you mean table7?")
    assert not (tmp_path / "results").exists()


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("run", "table7", "--scale", "paper"), ("--data DIR", "--dry-run")),
        (("run", "table7", "--scale", "paper", "--data", "nowhere"), ("nowhere", "cannot be listed")),
        (("run", "table7", "--scale", "paper", "--dataset", "nyud-v3", "--dry-run"), ("did you mean nyud-v2?",)),
        (("run", "table7", "--dataset", "nyud-v2"), ("data set of scale mini", "miniworld-pascal")),
        (("run", "table8"), ("table8", "--scale paper")),
        (
            ("run", "table26", "--protocol", "invpt", "--dry-run"),
            ("table26 measures no boundaries", "--protocol invpt"),
        ),
        (("run", "table7", "--norm", "papr"), ("did you mean paper?",)),
        (("run", "table7", "--sam-padding", "crp"), ("did you mean crop?",)),
        (("run", "table7", "--weights", "file.safetensors"), ("NAME=FILE",)),
        (("run", "table7", "--weights", "mini_vit_b.clpi=file"), ("did you mean mini_vit_b.clip?",)),
        (("probe", "timm/vit_smal_patch16_224"), ("did you mean", "vit_small_patch16_224")),
        (("probe", "timm/vit_tiny_patch16_224", "--weights", "none.safetensors"), ("none.safetensors",)),
        (("account", "--table", "99"), ("99",)),
        (("data", "check", "nowhere"), ("nowhere",)),
        (("predict", "nowhere", "image.png"), ("image.png",)),
        (["run", "table7", "--seeds", "0"], ["--seeds", "0"]),
        (["run", "table7", "--seeds", "many"], ["--seeds", "many"]),
        (["run", "table7", "--jobs", "-1"], ["--jobs", "-1"]),
        (["run", "table7", "--scale", "minni"], ["minni", "did you mean mini?"]),
        (["run", "table12", "--rows", "Freez3"], ["Freez3", "table12"]),
        (["run"], ["TABLE"]),
        (["run", "table10"], ["sakbench zoo"]),
        (["run", "a" * 300], ["no experiment"]),
        (["shwo", "table7"], ["shwo"]),
        (["show", "table7"], ["there is no store", "sakbench run table7"]),
        (["show", "table7", "--store", "results.csv"], [".db", ".jsonl"]),
        (["run", "table7", "--store", "results.jsonl"], ["for reading only"]),
        (["show", "tabel7", "--store", "STORED"], ["did you mean table7?"]),
        (["show", "abcdef012345", "--store", "STORED"], ["no run", "sakbench ls"]),
        (["export", "leaderbord", "--store", "STORED"], ["leaderbord"]),
        (["export", "leaderboard", "--store", "STORED", "--output", "no/such/folder.csv"], ["no/such/folder.csv"]),
        (["store", "export", "no/a.jsonl"], ["there is no store"]),
        (["store", "check", "--store", "mysql://me:secret@host/x"], ["mysql", "postgresql+psycopg://"]),
        (["repeat", "abcdef", "--store", "STORED"], ["no run"]),
        (["run", "table7", "--executor", "rya"], ["did you mean ray?"]),
        (["run", "table7", "--executor", "ray", "--store", "postgresql://me:pw@host/sak"], ["PGPASSWORD"]),
        (["run", "table7", "--address", "auto"], ["--executor ray"]),
        (["pretrain", "mini_vit_b.clap"], ["did you mean mini_vit_b.clip?"]),
        ([], ["COMMAND"]),
    ],
)
def test_bad_input_gets_a_sentence(sakbench, stored, arguments, words):
    assert complains(sakbench(*(stored if argument == "STORED" else argument for argument in arguments)), *words)


@pytest.mark.parametrize(
    ("arguments", "code", "needed"),
    [
        (["zoo"], 0, {"huggingface_hub"}),
        (["ls"], 0, set()),
        (["ls", "--store", "STORED"], 0, {"pandas", "sqlalchemy"}),
        (["show", "table7", "--store", "STORED"], 0, {"pandas", "sqlalchemy"}),
        (["show", "RUN", "--store", "STORED"], 0, {"sqlalchemy"}),
        (
            ["export", "leaderboard", "--store", "STORED"],
            0,
            HEAVY - PICTURES - {"accelerate", "sklearn"},
        ),  # it counts parameters
        (["verify"], 0, {"pandas"}),
        (["run", "table7", "--store", "WHOLE"], 0, {"pandas", "sqlalchemy"}),
        (["data", "check", "DATA"], 0, {"scipy", "skimage"}),  # which read MATLAB's files and thin boundaries
        (["data", "check", "nowhere"], 2, set()),
        (["run", "tabel7"], 2, set()),
        (["run", "table7", "--scale", "minni"], 2, set()),
        (["run", "table7", "--rows", "SAMM"], 2, set()),
        (["run", "table7", "--weights", "mini_vit_b.clpi=file"], 2, set()),
        (["run", "table7", "--scale", "paper", "--data", "nowhere"], 2, set()),
        (["probe", "mini_vit_b.clpi"], 2, set()),
        (["pretrain", "mini_vit_b.clpi"], 2, set()),
        (["show", "tabel7", "--store", "STORED"], 2, set()),
        (["show", "table7", "--store", "nowhere.db"], 2, {"sqlalchemy"}),
        (["account", "--table", "99"], 2, {"pandas"}),
    ],
)
def test_a_command_imports_what_it_needs_and_no_more(stored, tmp_path, arguments, code, needed):
    archives.pascal_context(tmp_path / "data")
    places = {
        "STORED": stored,
        "WHOLE": str(Path(stored).with_name("store.db")),
        "DATA": str(tmp_path / "data"),
        "RUN": tables.get("table7").build(MINI, 0)[0].runs[0].id,
    }
    script = (
        "import sys\n"
        "from sakbench.cli import main\n"
        "try:\n    main(sys.argv[1:])\n"
        "finally:\n    print(*sys.modules, file=sys.stderr)\n"
    )
    command = [sys.executable, "-c", script, *(places.get(argument, argument) for argument in arguments)]
    done = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path, check=False)
    assert done.returncode == code, done.stderr
    assert HEAVY & set(done.stderr.splitlines()[-1].split()) == needed


def test_a_store_that_is_none(sakbench, tmp_path):
    (tmp_path / "notes.db").write_text("not a database, whatever its name says, and long enough to be read as one")
    assert complains(sakbench("show", "table7", "--store", "notes.db"), "notes.db")
    sqlite3.connect(tmp_path / "other.db").execute("CREATE TABLE cakes (name)").connection.commit()
    assert complains(sakbench("run", "table7", "--store", "other.db"), "other.db", "not a sakbench store")
    open_store(tmp_path / "few.db", write=True)
    sqlite3.connect(tmp_path / "few.db").executescript("ALTER TABLE runs DROP COLUMN notes").connection.commit()
    assert complains(sakbench("show", "table7", "--store", "few.db"), "few.db", "lacks notes")
    (tmp_path / "half.jsonl").write_text('{"type": "schema", "version": 1}\n{"type": "ru')
    assert complains(sakbench("show", "table7", "--store", "half.jsonl"), "line 2", "half.jsonl")


def test_an_export_with_impossible_content(sakbench, stored, tmp_path):
    lines = Path(stored).read_text(encoding="utf-8").splitlines()
    run = json.loads(lines[1])
    for name, change in {
        "label": {"label": None},
        "length": {"duration_s": "long"},
        "twice": {"metrics": run["metrics"] * 2},
    }.items():
        broken = [lines[0], json.dumps(run | change), ""]
        (tmp_path / f"{name}.jsonl").write_text("\n".join(broken), encoding="utf-8")
        assert complains(sakbench("show", "table7", "--store", f"{name}.jsonl"), f"{name}.jsonl")


def test_a_folder_for_weights_that_cannot_be_made(sakbench, tmp_path):
    (tmp_path / "runs").write_text("")
    assert complains(sakbench("run", "table7", "--store", "s.db"), "runs", "--runs")
    assert not (tmp_path / "s.db").exists()


def test_weights_that_cannot_be_written_are_refused_before_anything_is_trained(sakbench, tmp_path):
    (tmp_path / "weights").write_text("")
    assert complains(sakbench("pretrain", "--output", "weights"), "weights")


def test_a_pipe_of_another_encoding(sakbench, monkeypatch):
    monkeypatch.setenv("PYTHONIOENCODING", "ascii")
    done = sakbench("ls")
    assert done.returncode == 0, done.stderr
    assert "table7" in done.stdout


def test_verify_names_the_row_that_does_not_follow(sakbench):
    done = sakbench("verify", "--json")
    assert done.returncode == 0
    checks = json.loads(done.stdout)
    gains = [c for c in checks if c["table"].startswith("table") and c.get("quantity") == "delta_m"]
    assert len(gains) == 145
    assert [(c["table"], c["row"], c["published"]) for c in gains if not c["agrees"]] == [("table16", "TFUT", 3.99)]


def test_a_stored_table_answers_in_json(sakbench, stored):
    done = sakbench("show", "table7", "--store", stored, "--json")
    assert done.returncode == 0, done.stderr
    rows = {row["row"]: row for row in json.loads(done.stdout)["rows"]}
    names = ["Single-task baseline", "Multi-task baseline", "DINOv2", "CLIP", "SAM", "DINOv2+CLIP", "DINOv2+CLIP+SAM"]
    assert [name for name in rows if not rows[name]["note"]] == names
    tasks = {"semseg", "parsing", "saliency", "normals", "boundary"}
    for row in rows.values():
        assert set(row["measured"]) == tasks
        assert row["seeds"] == list(SEEDS)
        assert row["runs"]
    assert rows["Single-task baseline"]["delta_m"] == pytest.approx(0, abs=1e-9)
    assert rows["DINOv2+CLIP+SAM"]["published"]["delta_m"] == -0.03
    trio, alone = rows["DINOv2+CLIP+SAM"]["measured"], rows["Single-task baseline"]["measured"]
    by_hand = sum((-1 if t == "normals" else 1) * (trio[t] - alone[t]) / alone[t] for t in tasks) / 5 * 100
    assert rows["DINOv2+CLIP+SAM"]["delta_m"] == pytest.approx(by_hand)


def test_a_run_can_be_traced(sakbench, stored):
    runs = json.loads(sakbench("ls", "--store", stored, "--json").stdout)["runs"]
    done = sakbench("show", runs[0]["id"][:8], "--store", stored, "--json")
    record = json.loads(done.stdout)
    assert record["id"] == runs[0]["id"]
    assert {"spec", "seed", "versions", "git_commit", "machine", "duration_s", "peak_memory_mb"} <= set(record)


def test_tables_are_printed_whole_on_a_pipe(sakbench, stored):
    done = sakbench("show", "table7", "--store", stored)
    assert done.returncode == 0
    for word in ("scale mini", "seeds 0, 1, 2", "DINOv2+CLIP+SAM", "paper", "-0.03", "Δm"):
        assert word in done.stdout
    assert "…" not in done.stdout


def test_the_leaderboard_never_mixes_measured_and_published(sakbench, stored):
    done = sakbench("export", "leaderboard", "--csv", "--store", stored)
    header, *lines = done.stdout.splitlines()
    assert {"model", "source", "scale", "delta_m", "seeds", "protocol"} <= set(header.split(","))
    assert any("RADIO" in line and "published" in line for line in lines)
    assert any("SAK" in line and "measured" in line and "mini" in line for line in lines)


def test_exported_results_give_the_same_table(sakbench, stored, tmp_path):
    assert sakbench("store", "export", "copy.jsonl", "--store", stored).returncode == 0
    shown = [sakbench("show", "table7", "--json", "--store", store).stdout for store in (stored, "copy.jsonl")]
    assert shown[0] == shown[1]


def test_a_dry_run_plans_the_papers_experiment_and_writes_nothing(sakbench, tmp_path):
    done = sakbench("run", "table7", "--scale", "paper", "--dry-run", "--json")
    assert done.returncode == 0, done.stderr
    planned = json.loads(done.stdout)
    assert planned["dataset"] == "pascal-context" and len(planned["runs"]) == 5 + 1 + 2 * 5
    runs = {line["run"]: line for line in planned["runs"]}
    trio = runs["stage 2 DINOv2+CLIP+SAM"]
    assert (trio["steps"], trio["batch_size"], trio["images"], trio["gpus"]) == (40_000, 4, 160_000, 2)
    assert trio["params_m"] == pytest.approx(133.506, abs=5e-4)
    assert runs["stage 1 DINOv2+CLIP+SAM"]["gpus"] == 8
    assert planned["totals"]["features_gb"] == 0  # which at that scale nobody could keep
    assert planned["totals"]["gpu_hours"] == pytest.approx(sum(line["gpu_hours"] for line in planned["runs"]))
    assert not list(tmp_path.iterdir())


def test_a_dry_run_leaves_out_what_is_stored(sakbench, stored):
    done = sakbench("run", "table7", "--seeds", "4", "--dry-run", "--json", "--store", stored)
    assert done.returncode == 0, done.stderr
    planned = json.loads(done.stdout)
    assert len(planned["runs"]) == 5 + 1 + 2 * 5  # seed 3 alone; the others are in the store
    scenes, cells = 2000 + 400 + 2 * 125, 8 * 8 + 8 * 8 + 16 * 16  # of DINOv2's, CLIP's and SAM's maps
    assert planned["totals"]["features_gb"] == pytest.approx(scenes * cells * 128 * 4 * 2 / 1e9)
    told = sakbench("run", "table7", "--seeds", "3", "--dry-run", "--store", stored).stdout
    assert "seeds 0 to 2" in told and "nothing to train" in told


def test_a_probe_of_a_users_own_model_is_planned_beside_the_teachers(sakbench, tmp_path):
    file = tmp_path / "own.safetensors"
    save_file(timm.create_model("vit_tiny_patch16_224", num_classes=0).state_dict(), file)
    done = sakbench("probe", "timm/vit_tiny_patch16_224", "--weights", str(file), "--dry-run", "--json")
    assert done.returncode == 0, done.stderr
    planned = [line["run"] for line in json.loads(done.stdout)["runs"]]
    assert planned == ["probe supervised", "probe dinov2", "probe clip", "probe sam", "probe timm/vit_tiny_patch16_224"]


def test_data_are_checked(sakbench, tmp_path):
    archives.pascal_context(tmp_path / "data" / "PASCALContext")
    done = sakbench("data", "check", "data", "--json")
    assert done.returncode == 0, done.stderr
    (tmp_path / "data" / "PASCALContext" / "JPEGImages" / "train0.jpg").write_bytes(b"no picture")
    done = sakbench("data", "check", "data")
    assert done.returncode == 2
    assert "train0" in done.stdout and "Traceback" not in done.stderr


@pytest.mark.parametrize(("environment", "expected"), [({}, 0), ({"WORLD_SIZE": "1", "RANK": "0"}, 0), (TWO, 2)])
def test_a_launcher_is_known_by_its_environment(environment, expected):
    assert devices.launched(environment) == expected


def test_devices_are_cores_or_the_gpus_that_there_are(monkeypatch):
    assert devices.choose("mini", None, 3) == devices.choose("paper", 0, 3) == ["cpu"] * 3
    monkeypatch.setattr(devices, "_in_sight", lambda: ["4", "5", "6"])
    assert devices.choose("paper", None, None) == ["4", "5", "6"]
    assert devices.choose("paper", 2, None) == ["4", "5"]
    assert devices.choose("mini", 2, 4) == ["4", "5", "4", "5"]
    with pytest.raises(UserError, match="4 GPUs were asked for, and torch sees 3"):
        devices.choose("paper", 4, None)
    monkeypatch.setattr(devices, "_in_sight", list)
    with pytest.raises(UserError, match="torch sees none"):
        devices.choose("paper", None, None)
