"""What the features of frozen backbones take of the disk: announced to the byte, and refused where there is no room."""

import re
import shutil
from collections import namedtuple
from dataclasses import replace

import numpy as np
import pytest
import torch

from sakbench import backbones, cli
from sakbench.cache import cache_folder
from sakbench.errors import UserError
from sakbench.experiments.rows import Experiment, Row, probe, sak
from sakbench.report.running import Request, run
from sakbench.runs import banks
from sakbench.runs.costs import weightless_encoder
from sakbench.runs.jobs import banks_of
from sakbench.runs.scales import MINI

Usage = namedtuple("Usage", ["total", "used", "free"])


def written():
    """The size of every array of features in the cache, as NumPy reads it."""
    files = (cache_folder() / "features").glob("*/*.npy")
    return {file: np.load(file, mmap_mode="r").nbytes for file in files}


@pytest.mark.parametrize(
    "name",
    [
        *(name for name in backbones.names() if name.startswith("mini_")),
        "vit_base_patch14_dinov2.lvd142m",
        "samvit_base_patch16.sa1b",
        "sam2_hiera_base_plus.fb_r896_2pt1",
        "timm/vit_tiny_patch16_224.augreg_in21k",
    ],
)
def test_the_size_is_that_of_the_maps_that_an_encoder_gives(name):
    for bank in banks_of(probe(MINI, 0, name)):
        side = banks.image_size(bank)
        maps = weightless_encoder(name, bank.size)(torch.empty(bank.count, 3, side, side, device="meta"))
        assert banks.size_in_bytes(bank) == sum(one.half().nbytes for one in maps)


def test_what_is_announced_is_written_and_then_no_longer_announced(tiny, tmp_path, capsys):
    scale = replace(tiny, distill_images=23, train_images=17, test_images=9)  # of which no other test has features
    teachers = ("DINOv2", "SAM")
    experiment = Experiment("features", "Features", lambda scale, seed: [Row("SAK", (sak(scale, seed, teachers),))])
    before = written()
    run(experiment, scale, Request(tmp_path / "first.db", "again", jobs=2))
    told = re.search(r"features of 2 frozen teachers: ([\d.,]+) MB in (.*) \(SAKBENCH_CACHE\)", capsys.readouterr().out)
    assert told is not None and told[2] == str(cache_folder() / "features")
    new = {file: size for file, size in written().items() if file not in before}
    # stage 1 reads 23 scenes and is tested on 9; stage 2 reads 17 and their mirror images; 4 levels each of 2 teachers
    assert len(new) == 2 * 4 * 4
    assert sum(new.values()) == (23 + 9 + 2 * 17) * (8 * 8 + 16 * 16) * 128 * 4 * 2
    assert float(told[1]) == round(sum(new.values()) / 1e6, 1)

    run(experiment, scale, Request(tmp_path / "second.db", "again", jobs=2))
    told = capsys.readouterr().out
    assert "2 runs to train" in told and "features of" not in told


@pytest.mark.parametrize("free", [0, 1_042_022_399])
def test_a_disk_without_room_is_refused_before_anything_is_written(free, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("SAKBENCH_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(shutil, "disk_usage", lambda folder: Usage(2 * 10**9, 2 * 10**9 - free, free))
    with pytest.raises(SystemExit) as end:
        cli.main(["run", "table7"])
    assert end.value.code == 2
    told = capsys.readouterr()
    assert not told.out
    for word in ("1,042.0 MB", f"{free / 1e6:,.1f} MB free", str(tmp_path / "cache" / "features"), "SAKBENCH_CACHE"):
        assert word in told.err
    assert not list(tmp_path.iterdir())


def test_just_enough_room_is_enough(monkeypatch):
    read = banks_of(sak(MINI, 0, ("CLIP",)))
    needed = sum(map(banks.size_in_bytes, read))
    monkeypatch.setattr(shutil, "disk_usage", lambda folder: Usage(needed, 0, needed))
    banks.require_room(read)
    monkeypatch.setattr(shutil, "disk_usage", lambda folder: Usage(needed, 1, needed - 1))
    with pytest.raises(UserError, match="make room"):
        banks.require_room(read)
