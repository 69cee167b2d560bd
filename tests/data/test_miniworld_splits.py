"""Cached splits: prefixes, checksums, damage, bad names."""

from __future__ import annotations

import json
import warnings
from pathlib import Path

import numpy as np
import pytest

from sakbench.data import miniworld as world
from sakbench.errors import UserError


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("cache")


@pytest.fixture(scope="module")
def split(cache: Path) -> world.Split:
    return world.load_split("train", "pascal", 12, cache=cache, workers=1)


def test_a_longer_split_begins_with_the_shorter_one_and_workers_do_not_matter(cache: Path, split: world.Split) -> None:
    calls: list[tuple[int, int]] = []
    longer = world.load_split("train", "pascal", 15, cache=cache, workers=2, progress=lambda *call: calls.append(call))
    np.testing.assert_array_equal(longer.images[:12], split.images)
    np.testing.assert_array_equal(longer.captions[:12], split.captions)
    for name, label in split.labels.items():
        np.testing.assert_array_equal(longer.labels[name][:12], label)
    assert calls[-1] == (15, 15) and len(calls) == 2
    assert longer.checksum != split.checksum


def test_splits_do_not_share_scenes(cache: Path, split: world.Split) -> None:
    other = world.load_split("val", "pascal", 12, cache=cache, workers=1)
    assert not {image.tobytes() for image in other.images} & {image.tobytes() for image in split.images}


def test_a_second_load_reads_the_cache(cache: Path, split: world.Split) -> None:
    def never(done: int, count: int) -> None:
        raise AssertionError("rendered again")

    again = world.load_split("train", "pascal", 12, cache=cache, progress=never)
    assert again.checksum == split.checksum and again.verify() and len(again) == 12


def _flip_a_byte(folder: Path) -> None:
    path = folder / "semseg.npy"
    content = bytearray(path.read_bytes())
    content[-5] ^= 1
    path.write_bytes(content)


def _cut(folder: Path) -> None:
    path = folder / "images.npy"
    path.write_bytes(path.read_bytes()[:-100])


def _forget(folder: Path) -> None:
    (folder / "part.npy").unlink()


def _age(folder: Path) -> None:
    path = folder / "manifest.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"version": 0}))


def _scribble(folder: Path) -> None:
    (folder / "manifest.json").write_text("{")


@pytest.mark.parametrize("damage", [_flip_a_byte, _cut, _forget, _age, _scribble])
def test_a_damaged_cache_is_rendered_again_and_says_so(damage, tmp_path: Path) -> None:
    first = world.load_split("val", "nyud", 2, cache=tmp_path, workers=1)
    expected, folder, checksum = np.array(first.images), first.folder, first.checksum
    del first
    assert world.cached_checksum("val", "nyud", 2, cache=tmp_path) == checksum
    damage(folder)
    known = world.cached_checksum("val", "nyud", 2, cache=tmp_path)
    assert known == (checksum if damage is _flip_a_byte else None)  # it reads no array
    with pytest.warns(UserWarning, match="rendered again"):
        mended = world.load_split("val", "nyud", 2, cache=tmp_path, workers=1)
    np.testing.assert_array_equal(mended.images, expected)
    assert mended.checksum == checksum and mended.verify()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        world.load_split("val", "nyud", 2, cache=tmp_path)
    assert [p.name for p in folder.parent.iterdir() if p.suffix != ".lock"] == [folder.name], (
        "nothing is left beside it"
    )


def test_an_interrupted_rendering_leaves_nothing(tmp_path: Path) -> None:
    def stop(done: int, count: int) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        world.load_split("val", "pascal", 2, cache=tmp_path, workers=1, progress=stop)
    assert all(path.suffix == ".lock" for path in (tmp_path / f"miniworld-{world.VERSION}").iterdir())


def test_targets_follow_the_conventions(cache: Path, split: world.Split) -> None:
    batch = world.targets(split, [3, 1], world.TASKS["pascal"])
    assert batch["semseg"].dtype == np.uint8 and batch["semseg"].shape == (2, 64, 64)
    np.testing.assert_allclose((batch["normals"] ** 2).sum(1), 1, atol=1e-5)
    sampled = world.sample_scene(world.split_seed("train"), 1)
    normals = world.render(sampled).normals.reshape(3, 64, 2, 64, 2).mean((2, 4))
    assert np.abs(batch["normals"][1] - normals).mean() < 0.05
    rooms = world.load_split("train", "nyud", 2, cache=cache, workers=1)
    depth = world.targets(rooms, np.array([0]), ["depth"])["depth"]
    assert depth.dtype == np.float32 and depth.min() > 0.4 and depth.max() < 12


def test_images64_are_means_of_four_pixels(split: world.Split) -> None:
    expected = split.images[[5, 0]].reshape(2, 64, 2, 64, 2, 3).astype(float).mean((2, 4))
    np.testing.assert_allclose(world.images64(split, [5, 0]), expected)


def test_bad_names_are_answered_with_a_sentence(tmp_path: Path, split: world.Split) -> None:
    with pytest.raises(UserError, match="no split named 'tarin': did you mean train"):
        world.load_split("tarin", "pascal", 1, cache=tmp_path)
    with pytest.raises(UserError, match="did you mean pascal"):
        world.load_split("train", "pascall", 1, cache=tmp_path)
    with pytest.raises(UserError, match="did you mean nyud"):
        world.sample_scene(0, 0, "nyudv2")
    with pytest.raises(UserError, match="at least one scene"):
        world.load_split("train", "pascal", 0, cache=tmp_path)
    with pytest.raises(UserError, match="depth"):
        world.targets(split, [0], ["depth"])
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match="cannot be written"):
        world.load_split("train", "pascal", 1, cache=tmp_path / "file")
