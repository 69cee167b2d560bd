"""Several processes, and several parts of a batch, must train as one process does with the whole batch."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

COMMAND = str(Path(__file__).with_name("together.py"))


def trained(file, *launcher, parts=1):
    command = [sys.executable, *launcher, COMMAND, str(file), str(parts)]
    done = subprocess.run(
        command, capture_output=True, text=True, check=False, env=os.environ | {"OMP_NUM_THREADS": "1"}
    )
    assert done.returncode == 0, done.stderr
    return json.loads(file.read_text())


@pytest.fixture(scope="module")
def alone(tmp_path_factory):
    return trained(tmp_path_factory.mktemp("alone") / "alone.json")


def test_two_processes_have_the_losses_and_gradients_of_one(alone, tmp_path):
    launcher = ("-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2")
    together = trained(tmp_path / "two.json", *launcher)
    assert len(together["losses"]) == len(alone["losses"])
    for ours, theirs in zip(together["losses"], alone["losses"], strict=True):
        assert ours == pytest.approx(theirs, rel=1e-4)
    for ours, theirs in zip(together["gradients"], alone["gradients"], strict=True):
        assert ours == pytest.approx(theirs, rel=1e-2, abs=1e-4)
    assert together["gradients"][0] == pytest.approx(alone["gradients"][0], rel=1e-3, abs=1e-5)
    assert together["buffers"] == pytest.approx(alone["buffers"], rel=1e-3)  # BatchNorm's running statistics


def test_the_parts_of_a_batch_start_from_its_losses(alone, tmp_path):
    """Only the first step can be compared: BatchNorm sees a part at a time, and the routers' noise is drawn anew."""
    parts = trained(tmp_path / "parts.json", parts=2)
    teacher, whole = parts["losses"][0].pop("DINOv2"), alone["losses"][0]
    assert teacher == pytest.approx(whole["DINOv2"], rel=1e-5)  # neither of these touches the distillation loss
    assert parts["losses"][0] == pytest.approx({k: v for k, v in whole.items() if k != "DINOv2"}, rel=0.2)
