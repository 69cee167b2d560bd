"""Runs on a disk that flips, cuts and fills up, beside processes that die, survive or are at the same run."""

import errno
import fcntl
import hashlib
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from filelock import FileLock

from sakbench.errors import UserError
from sakbench.experiments.rows import sak, under
from sakbench.runs import artifacts, perform, results
from sakbench.runs.place import Place
from sakbench.runs.plan import training_folder
from sakbench.runs.spec import RunSpec
from tests.conftest import ROOT

FLIP = {"flip": lambda content: content[:-9] + bytes([content[-9] ^ 1]) + content[-8:]}
CUT = {"cut": lambda content: content[: len(content) // 2], "empty": lambda content: b""}


def do(spec: RunSpec, runs: Path, stop=lambda: False):
    """A run's result, and the steps that its training told of."""
    steps = []
    result = perform.perform(spec, Place(runs), lambda progress: steps.append(progress.step), stop)
    return json.loads(json.dumps(result)), steps


@pytest.fixture(scope="module")
def spec(tiny) -> RunSpec:
    return sak(tiny, 0, ("CLIP",))


@pytest.fixture(scope="module")
def trained(spec, tmp_path_factory):
    """A folder of runs with a stage 1 that is trained and not stored yet, and what it gave."""
    runs = tmp_path_factory.mktemp("trained") / "runs"
    return runs, do(spec.start, runs)[0]


@pytest.fixture
def runs(trained, tmp_path) -> Path:
    """A copy of it."""
    return shutil.copytree(trained[0], tmp_path / "runs")


@pytest.fixture
def nothing_is_made(monkeypatch):
    def never(*arguments, **options):
        raise AssertionError("trained or evaluated again")

    monkeypatch.setattr(perform, "_train_and_evaluate", never)


def test_a_result_lists_what_the_run_left(spec, trained):
    runs, result = trained
    folder = runs / spec.start.id
    there = {path.name for path in folder.iterdir() if path.is_file() and not path.name.startswith(".")}
    assert there == {"model.safetensors", "config.json", "README.md", "run.json", "artifacts.json"}
    assert result["checkpoint"] == f"{spec.start.id}/model.safetensors"
    assert result["artifacts"] == [
        {"path": f"{folder.name}/{name}", "bytes": len(content), "sha256": hashlib.sha256(content).hexdigest()}
        for name, content in ((name, (folder / name).read_bytes()) for name in sorted(there - {"artifacts.json"}))
    ]
    assert json.loads((folder / "artifacts.json").read_text()) == result["artifacts"]
    assert artifacts.problems(folder) == {} and artifacts.drafts(runs) == []


@pytest.mark.usefixtures("nothing_is_made")
def test_a_result_outlives_its_command(spec, trained, runs):
    assert do(spec.start, runs) == (trained[1], [])


def test_a_result_that_is_no_longer_there_is_evaluated_again(spec, trained, runs):
    shutil.rmtree(training_folder(runs, spec.start))
    again, steps = do(spec.start, runs)
    assert steps and again["metrics"] == trained[1]["metrics"] and again["artifacts"] == trained[1]["artifacts"]


def test_a_damaged_result_is_never_read(spec, trained, runs):
    training = training_folder(runs, spec.start)
    file = training / "result.json"
    content = file.read_bytes()
    assert results.read(training, runs) == trained[1]
    for position in range(len(content)):
        file.write_bytes(content[:position] + bytes([content[position] ^ 1]) + content[position + 1 :])
        # a last digit may be one that makes no other number
        assert results.read(training, runs) in (None, trained[1]), position
        file.write_bytes(content[:position])
        assert results.read(training, runs) is None, position
    again, steps = do(spec.start, runs)
    assert not steps and again["metrics"] == trained[1]["metrics"]
    assert results.read(training, runs) == again


@pytest.mark.parametrize("damage", [*CUT.values(), None])
def test_a_result_without_its_weights_is_evaluated_again(spec, trained, runs, damage):
    file = runs / trained[1]["checkpoint"]
    file.write_bytes(damage(file.read_bytes())) if damage else file.unlink()
    again, _ = do(spec.start, runs)
    assert again["artifacts"] == trained[1]["artifacts"] and artifacts.problems(file.parent) == {}


@pytest.mark.parametrize(
    ("name", "damage"),
    [
        *(("model.safetensors", damage) for damage in (FLIP["flip"], *CUT.values())),
        *(("artifacts.json", damage) for damage in CUT.values()),
    ],
)
def test_stage_2_refuses_weights_that_are_not_stage_1s(spec, runs, name, damage):
    file = runs / spec.start.id / name
    file.write_bytes(damage(file.read_bytes()))
    with pytest.raises(UserError, match="sakbench store check --repair") as error:
        do(spec, runs)
    assert str(file) in str(error.value) and "\n" not in str(error.value)
    assert list(artifacts.problems(file.parent)) == [file]
    assert not training_folder(runs, spec).exists()
    shutil.rmtree(file.parent)  # as the sentence says
    do(spec.start, runs)
    assert do(spec, runs)[1]


def test_no_damage_of_the_list_hides_a_damage_of_the_weights(spec, runs):
    weights, listed = (runs / spec.start.id / name for name in ("model.safetensors", "artifacts.json"))
    weights.write_bytes(b"cut")
    content = listed.read_bytes()
    for position in range(len(content)):
        listed.write_bytes(content[:position] + bytes([content[position] ^ 1]) + content[position + 1 :])
        assert {weights, listed} & set(artifacts.problems(weights.parent)), position


def test_a_score_keeps_its_result_and_no_weights_of_its_own(spec, runs):
    do(spec, runs)
    score = under_another_protocol(spec)
    result, steps = do(score, runs)
    left = [Path(one["path"]).name for one in result["artifacts"]]
    assert not steps and result["checkpoint"] == f"{spec.id}/model.safetensors"
    assert sorted(left) == ["images.safetensors", "run.json"]  # what its metrics are made of, image by image
    weights = runs / spec.id / "model.safetensors"
    assert results.read(training_folder(runs, score), runs) == result
    shutil.rmtree(training_folder(runs, score))
    weights.write_bytes(FLIP["flip"](weights.read_bytes()))
    with pytest.raises(UserError, match="has changed since"):
        do(score, runs)


def test_a_process_waits_for_the_one_that_is_at_the_run(spec, trained, runs):
    training = training_folder(runs, spec.start)
    (training / "result.json").unlink()
    other = FileLock(runs / spec.start.id / ".lock")
    with other, pytest.raises(perform.Stopped):
        do(spec.start, runs, stop=lambda: True)
    assert not (training / "result.json").exists()

    other.acquire()

    def ends() -> bool:
        """The other one, asked while this one waits, has written its result and ends."""
        if other.is_locked:
            results.write(training, trained[1] | {"notes": {"of": "the other"}})
            other.release()
        return False

    found, steps = do(spec.start, runs, stop=ends)
    assert found["notes"] == {"of": "the other"} and not steps
    shutil.rmtree(training)  # whoever stores the result does so while the lock lies beside it
    assert not training.exists()


def test_a_file_system_without_locks_goes_on(spec, trained, runs, monkeypatch, nothing_is_made):
    def none(*arguments):
        raise OSError(errno.ENOSYS, "Function not implemented")

    monkeypatch.setattr(fcntl, "flock", none)
    assert do(spec.start, runs)[0] == trained[1]


def test_the_first_process_looks_and_waits_for_all(spec, runs, tmp_path):
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    command += [str(Path(__file__).with_name("at_one_run.py")), str(runs), spec.start.id, str(tmp_path)]
    environment = os.environ | {"OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)}
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=environment, timeout=120)
    assert done.returncode == 0, done.stdout + done.stderr
    first, second = (json.loads((tmp_path / f"{rank}.json").read_text()) for rank in (0, 1))
    assert first == second == ["stopped", json.loads(json.dumps(results.read(runs / spec.start.id / "training", runs)))]


def test_a_full_disk_keeps_what_was_there_and_goes_on_when_there_is_room(tmp_path):
    mount = f"mount -t tmpfs -o size=48m none {tmp_path}"
    own = ["unshare", "--mount", "--map-root-user", "sh", "-c"]
    if not shutil.which("unshare") or subprocess.run([*own, mount], capture_output=True, check=False).returncode:
        pytest.skip("a small disk cannot be mounted here without privileges")
    command = f"{mount} && exec {sys.executable} {Path(__file__).with_name('full_disk.py')} {tmp_path}"
    environment = os.environ | {"OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)}
    done = subprocess.run([*own, command], capture_output=True, text=True, check=False, env=environment)
    assert done.returncode == 0, done.stdout + done.stderr


def under_another_protocol(spec: RunSpec) -> RunSpec:
    from sakbench.experiments.rows import Experiment, Row

    rows = under(Experiment("one", "One", lambda scale, seed: [Row("SAK", (spec,))]), "invpt").build(None, 0)
    return next(run for row in rows for run in row.runs if run.kind == "score")
