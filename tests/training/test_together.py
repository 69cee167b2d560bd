"""Several processes, and several parts of a batch, must train as one process does with the whole batch."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

COMMAND = str(Path(__file__).with_name("together.py"))


LAUNCHER = ("-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2")


def train(*arguments, launcher=()):
    command = [sys.executable, *launcher, COMMAND, *map(str, arguments)]
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    return subprocess.run(command, capture_output=True, text=True, check=False, env=environment, timeout=240)


def trained(file, *words, launcher=(), parts=1):
    done = train(file, parts, *words, launcher=launcher)
    assert done.returncode == 0, done.stderr
    return json.loads(file.read_text())


@pytest.fixture(scope="module")
def alone(tmp_path_factory):
    return trained(tmp_path_factory.mktemp("alone") / "alone.json")


def test_two_processes_have_the_losses_and_gradients_of_one(alone, tmp_path):
    together = trained(tmp_path / "two.json", launcher=LAUNCHER)
    assert len(together["losses"]) == len(alone["losses"])
    for ours, theirs in zip(together["losses"], alone["losses"], strict=True):
        assert ours == pytest.approx(theirs, rel=1e-4)
    for ours, theirs in zip(together["gradients"], alone["gradients"], strict=True):
        assert ours == pytest.approx(theirs, rel=1e-2, abs=1e-4)
    assert together["gradients"][0] == pytest.approx(alone["gradients"][0], rel=1e-3, abs=1e-5)
    assert together["buffers"] == pytest.approx(alone["buffers"], rel=1e-3)  # BatchNorm's running statistics


def test_both_stages_of_prism_train_in_two_processes_though_each_lacks_a_teacher(tmp_path):
    for folder in ("one", "two"):
        (tmp_path / folder).mkdir()
    alone = trained(tmp_path / "one" / "alone.json", "prism")
    together = trained(tmp_path / "two" / "together.json", "prism", launcher=LAUNCHER)
    for ours, theirs in zip(together["losses"], alone["losses"], strict=True):
        assert ours == pytest.approx(theirs, rel=1e-4)
    for step in (0, 2):  # the first of each stage
        assert together["gradients"][step] == pytest.approx(alone["gradients"][step], rel=1e-3, abs=1e-5)


def test_the_parts_of_a_batch_start_from_its_losses(alone, tmp_path):
    """Only the first step can be compared: BatchNorm sees a part at a time, and the routers' noise is drawn anew."""
    parts = trained(tmp_path / "parts.json", parts=2)
    teacher, whole = parts["losses"][0].pop("DINOv2"), alone["losses"][0]
    assert teacher == pytest.approx(whole["DINOv2"], rel=1e-5)  # neither of these touches the distillation loss
    assert parts["losses"][0] == pytest.approx({k: v for k, v in whole.items() if k != "DINOv2"}, rel=0.2)


def test_a_loss_that_one_process_loses_stops_all_before_anything_is_kept(tmp_path):
    done = train(tmp_path / "poisoned.json", 1, "poisoned", launcher=LAUNCHER)
    assert done.returncode != 0
    assert done.stderr.count("the loss is no longer finite at step 6") >= 2  # both say so
    assert not (tmp_path / "poisoned.json").exists()
    assert not list((tmp_path / "checkpoints").rglob("step-00000006"))
