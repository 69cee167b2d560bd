"""Packages that bring something, as pip installs them: their entry points are found, and a broken one stops nothing."""

import json
import os
import subprocess
import sys

import pytest

from tests.conftest import ROOT

MODULE = """
def register():
    from sakbench import backbones, tasks
    from sakbench.backbones.registry import BackboneInfo

    def build(size, pretrained):
        from timm.models.vision_transformer import VisionTransformer

        return VisionTransformer(img_size=size, patch_size=8, embed_dim=24, depth=4, num_heads=2, num_classes=0)

    backbones.register(
        BackboneInfo(
            "plugged_vit.mine", (24,) * 4, 4, 2, (8,) * 4, 1, 64, 30000, "none", "no data", "", "own", version="7"
        ),
        build,
    )


def curious():
    from sakbench import backbones
    from sakbench.models import decoders

    backbones.info("mini_vit_s.supervised")
    decoders.make("simple", (4,) * 4, {"semseg": 2})
    register()


def greedy():
    from sakbench.models import decoders

    decoders.register("simple", lambda dims, tasks: None)


def broken():
    raise RuntimeError("no such thing")
"""


@pytest.fixture
def installed(tmp_path):
    """A folder on the path with a package and its metadata."""

    def install(points: str):
        (tmp_path / "plugged.py").write_text(MODULE)
        about = tmp_path / "plugged-2.5.dist-info"
        about.mkdir(exist_ok=True)
        (about / "METADATA").write_text("Metadata-Version: 2.1\nName: plugged\nVersion: 2.5\n")
        (about / "entry_points.txt").write_text(f"[sakbench.plugins]\n{points}\n")

        def call(*words):
            paths = os.pathsep.join([str(tmp_path), str(ROOT)])
            environment = os.environ | {"PYTHONPATH": paths}
            command = [sys.executable, *words]
            return subprocess.run(command, capture_output=True, text=True, cwd=tmp_path, env=environment, check=False)

        return call

    return install


def test_a_packages_backbone_is_in_the_zoo_and_in_a_runs_identity(installed):
    call = installed("mine = plugged:register")
    done = call("-m", "sakbench", "zoo", "--json")
    assert done.returncode == 0, done.stderr
    entry = next(model for model in json.loads(done.stdout) if model["name"] == "plugged_vit.mine")
    assert entry["weights"] == "own"
    done = call("-m", "sakbench", "run", "table7", "--rows", "nothing like it")
    assert done.returncode == 2
    code = (
        "from sakbench.experiments.rows import probe\n"
        "from sakbench.runs.scales import MINI\n"
        "print(*probe(MINI, 0, 'plugged_vit.mine').inputs, sep='|')\n"
    )
    told = call("-c", code).stdout
    assert "plugged_vit.mine version 7" in told
    assert "backbone plugged_vit.mine of plugged 2.5" in told


def test_one_that_raises_is_told_and_the_others_go_on(installed):
    brought = ("a_broken = plugged:broken", "greedy = plugged:greedy", "mine = plugged:curious")
    call = installed("\n".join([*brought, "z_gone = no_such_module:register"]))
    done = call("-m", "sakbench", "zoo", "--json")
    assert done.returncode == 0, done.stderr
    assert any(model["name"] == "plugged_vit.mine" for model in json.loads(done.stdout))
    lines = done.stderr.splitlines()
    assert len(lines) == 3
    assert "the plug-in a_broken of plugged 2.5 cannot be used (RuntimeError: no such thing)" in lines[0]
    assert "decoder 'simple' is one of sakbench's own: give yours another name" in lines[1]
    assert "z_gone" in lines[2]
