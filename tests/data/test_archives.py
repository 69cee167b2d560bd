"""The real data sets in tiny copies of their real layouts: what comes out, what is kept, and every kind of damage."""

import json
import os
import pickle
import shutil
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from scipy.io import savemat
from scipy.ndimage import convolve
from skimage.morphology import thin
from torch.utils.data import DataLoader

from sakbench.data import catalogue, find, open_split
from sakbench.data.archives.check import check
from sakbench.data.archives.imagenet import ImageNet
from sakbench.data.archives.pascal_context import CLASSES_WITH_NORMALS, PARTS
from sakbench.data.transforms import EvaluationTransform, TuneTransform
from sakbench.errors import UserError
from sakbench.report import data_check
from tests.data import archives

PASCAL_TASKS = catalogue.get("pascal-context").tasks
NYUD_TASKS = catalogue.get("nyud-v2").tasks


@pytest.fixture
def pascal(tmp_path):
    return archives.pascal_context(tmp_path / "PASCALContext")


@pytest.fixture
def nyud(tmp_path):
    return archives.nyud(tmp_path / "NYUDv2")


def kept_maps(cache):
    return sorted((cache / "archives").rglob("*.map"))


# what comes out


def test_pascal_items_are_what_was_written(pascal):
    split = open_split("pascal-context", "train", pascal.parent, tasks=PASCAL_TASKS, with_boundary_source=True)
    assert len(split) == 4
    for row, name in enumerate(archives.names("train", 4)):
        size = archives.PASCAL_SIZES[row % 3]
        parts = archives.regions(name, size, 6)
        item = split[row]
        assert item["name"] == name
        assert (item["image"].shape, item["image"].dtype) == ((*size, 3), np.uint8)
        for task in ("semseg", "parsing", "saliency", "boundary"):
            assert (item[task].shape, item[task].dtype) == (size, np.uint8), task
        np.testing.assert_array_equal(item["semseg"], np.array([0, 15, 12, 255, 20, 3])[parts])
        np.testing.assert_array_equal(item["saliency"], np.array([0, 0, 1, 1, 0, 1])[parts])
        person = np.array([1, 2, 4, 5, 0, 0]) if row % 2 == 0 else np.zeros(6, dtype=int)  # head torso lhand ruleg
        np.testing.assert_array_equal(item["parsing"], person[parts])
        labels = np.array([284, 440, 113, 360, 427, 2])[parts]
        np.testing.assert_array_equal(item["boundary_source"], labels)
        np.testing.assert_array_equal(split.boundary_source(row), labels)
        laplacian = convolve(labels, np.array([[0, 1, 0], [1, -4, 1], [0, 1, 0]]), mode="mirror")
        np.testing.assert_array_equal(item["boundary"], thin(laplacian != 0))


def test_pascal_normals_are_unit_vectors_where_nyu_knows_the_class(pascal):
    item = open_split("pascal-context", "train", pascal, tasks=["normals"])[1]
    parts = archives.regions("train1", archives.PASCAL_SIZES[1], 6)
    assert item["normals"].dtype == np.float32
    known = np.isin(parts, [0, 1, 2, 4])  # person, wall, dog and tvmonitor, but neither sky nor aeroplane
    assert (item["normals"][:, ~known] == 255).all()
    stored = archives.encoded_normals("train1", archives.PASCAL_SIZES[1])[known]
    np.testing.assert_allclose(np.linalg.norm(item["normals"][:, known], axis=0), 1, atol=1e-6)
    np.testing.assert_allclose(item["normals"][:, known].T, stored / 127.5 - 1, atol=0.02)


def test_the_24_parts_of_a_person_are_six():
    assert len(PARTS) == 24
    assert set(PARTS.values()) == set(range(1, len(catalogue.PARTS)))
    for left, right in (
        ("lear", "rear"),
        ("luarm", "ruarm"),
        ("lhand", "rlarm"),
        ("luleg", "ruleg"),
        ("lfoot", "rlleg"),
    ):
        assert PARTS[left] == PARTS[right]


def test_classes_with_normals_are_in_the_order_of_label_maps():
    """LabelMap numbers its 459 classes in the order of their names: an upset number would show."""
    assert list(CLASSES_WITH_NORMALS) == sorted(CLASSES_WITH_NORMALS)
    assert list(CLASSES_WITH_NORMALS.values()) == sorted(set(CLASSES_WITH_NORMALS.values()))


def test_semseg_prefers_voc12(pascal):
    Image.fromarray(np.full(archives.PASCAL_SIZES[0], 7, dtype=np.uint8)).save(
        pascal / "semseg/pascal-context/train0.png"
    )
    split = open_split("pascal-context", "train", pascal, tasks=["semseg"])
    assert 7 not in split[0]["semseg"]
    (pascal / "semseg/VOC12/train0.png").unlink()
    assert (split[0]["semseg"] == 7).all()


@pytest.mark.parametrize("variant", ["png", "npy", "mat"])
def test_nyud_items_are_what_was_written(tmp_path, variant):
    folder = archives.nyud(tmp_path / "NYUD_MT", variant=variant)
    split = open_split("nyud-v2", "test", tmp_path, tasks=NYUD_TASKS, with_boundary_source=True)
    assert split.archive.folder == folder
    item = split[2]
    size = archives.NYUD_SIZES[0]
    parts = archives.regions("test2", size, 6)
    np.testing.assert_array_equal(item["semseg"], np.array([255, 0, 39, 6, 11, 2])[parts])
    np.testing.assert_array_equal(item["depth"], np.array([255, 0.5, 2, 9.75, 4, 1], dtype=np.float32)[parts])
    assert item["depth"].dtype == item["normals"].dtype == np.float32
    edge = np.diff(parts, axis=1, append=parts[:, -1:]) != 0
    np.testing.assert_array_equal(item["boundary"], edge)
    np.testing.assert_array_equal(item["boundary_source"], edge)
    np.testing.assert_allclose(np.linalg.norm(item["normals"], axis=0), 1, atol=1e-6)
    tolerance = 0.02 if variant != "mat" else 0.5  # of a JPEG
    expected = archives.encoded_normals("test2", size) / 127.5 - 1
    assert np.median(np.abs(item["normals"].transpose(1, 2, 0) - expected)) < tolerance


def test_normals_without_direction_are_ignored(nyud):
    pixels = np.full((*archives.NYUD_SIZES[0], 3), 128, dtype=np.uint8)  # the byte nearest to zero
    pixels[0, 0] = (255, 128, 128)
    Image.fromarray(pixels).save(nyud / "normals/train0.png")
    normals = open_split("nyud-v2", "train", nyud, tasks=["normals"])[0]["normals"]
    np.testing.assert_allclose(normals[:, 0, 0], [1, 0, 0], atol=0.01)
    assert (normals.reshape(3, -1)[:, 1:] == 255).all()


def test_only_the_asked_tasks_are_read(pascal):
    for folder in ("human_parts", "sal_distill", "normals_distill", "pascal-context"):
        shutil.rmtree(pascal / folder)
    item = open_split("pascal-context", "test", pascal, tasks=["semseg"])[0]
    assert sorted(item) == ["image", "name", "semseg"]
    with pytest.raises(UserError, match=r"has no saliency .*sal_distill.*: get PASCALContext.tar.gz"):
        open_split("pascal-context", "test", pascal, tasks=["saliency"])


def test_subsets_are_nested_and_do_not_depend_on_the_lists_order(pascal):
    split = open_split("pascal-context", "train", pascal)
    sets = [set(split.subset(count).names) for count in range(1, len(split) + 1)]
    assert [len(names) for names in sets] == list(range(1, len(split) + 1))
    assert all(smaller < larger for smaller, larger in pairwise(sets))
    turned = replace(split, names=split.names[::-1])
    assert [set(turned.subset(len(names)).names) for names in sets] == sets


# under torch's loader


@pytest.mark.parametrize("context", ["fork", "spawn"])
def test_workers_give_the_same_items(pascal, context):
    split = open_split("pascal-context", "train", pascal, tasks=PASCAL_TASKS, transform=TuneTransform((64, 48)))
    places = [(0, 5), (3, 5), (1, 9), (0, 6)]
    loader = DataLoader(split, batch_size=2, sampler=places, num_workers=2, multiprocessing_context=context)
    batches = list(loader)
    assert batches[0]["name"] == ["train0", "train3"]
    for place, (row, seed) in enumerate(places):
        for key, value in split[row, seed].items():
            if key == "image":  # to rounding: a worker has one thread, and arithmetic in pieces rounds otherwise
                torch.testing.assert_close(batches[place // 2][key][place % 2], value, rtol=0, atol=1e-5)
            elif key != "name":
                assert torch.equal(batches[place // 2][key][place % 2], value), key


def test_a_split_is_pickled_without_its_images(pascal):
    split = pickle.loads(pickle.dumps(open_split("pascal-context", "test", pascal, tasks=PASCAL_TASKS)))
    assert split[1]["name"] == "test1"


# what is kept


def test_a_kept_map_equals_a_fresh_one_and_is_made_again_if_damaged(pascal, monkeypatch, tmp_path):
    cache = tmp_path / "cache"
    monkeypatch.setenv("SAKBENCH_CACHE", str(cache))
    split = open_split("pascal-context", "train", pascal, tasks=["boundary", "normals"])
    fresh = split[0]
    (kept,) = kept_maps(cache)
    written = kept.stat().st_mtime_ns
    for task in ("boundary", "normals"):
        np.testing.assert_array_equal(split[0][task], fresh[task])
    assert kept.stat().st_mtime_ns == written
    whole = kept.read_bytes()
    for damaged in (b"", whole[: len(whole) // 2], whole[:-9] + b"?" + whole[-8:]):
        kept.write_bytes(damaged)
        np.testing.assert_array_equal(split[0]["boundary"], fresh["boundary"])
        assert kept.read_bytes() == whole
    assert not list(cache.rglob(".*.draft-*"))


def test_another_label_map_is_another_kept_one(pascal, monkeypatch, tmp_path):
    monkeypatch.setenv("SAKBENCH_CACHE", str(tmp_path / "cache"))
    split = open_split("pascal-context", "train", pascal, tasks=["boundary"])
    assert split[0]["boundary"].any()
    savemat(
        pascal / "pascal-context/trainval/train0.mat",
        {"LabelMap": np.zeros(archives.PASCAL_SIZES[0], dtype=np.uint16)},
    )
    assert not split[0]["boundary"].any()


def test_a_cache_that_cannot_be_written_is_said(pascal, monkeypatch, tmp_path):
    (tmp_path / "file").write_text("in the way")
    monkeypatch.setenv("SAKBENCH_CACHE", str(tmp_path / "file"))
    with pytest.raises(UserError, match=r"cannot be written .*SAKBENCH_CACHE"):
        open_split("pascal-context", "train", pascal, tasks=["boundary"])[0]


# ImageNet


@pytest.mark.parametrize("flat", [True, False])
def test_imagenet_is_listed_once_until_a_folder_changes(tmp_path, monkeypatch, flat):
    monkeypatch.setenv("SAKBENCH_CACHE", str(tmp_path / "cache"))
    folder = archives.imagenet(tmp_path / "imagenet", flat=flat)
    train, test = (open_split("imagenet-1k", split, tmp_path) for split in ("train", "test"))
    assert (len(train), len(test)) == (6, 4)
    assert train[5]["name"] == "train/n00000001/n00000001_2.JPEG"
    assert train[5]["image"].shape == (31, 42, 3)
    assert list(train.names) == sorted(train.names)
    listings = []
    monkeypatch.setattr(ImageNet, "_files", lambda self, folders: listings.append(folders) or iter([b"train/x.JPEG"]))
    assert list(open_split("imagenet-1k", "train", folder).names) == list(train.names)
    assert not listings
    shutil.copy(folder / train.names[0], folder / "train/n00000001/new.JPEG")
    os.utime(folder / "train/n00000001", ns=(1, 1))  # disks whose clocks are coarse would not show it at once
    assert len(open_split("imagenet-1k", "train", folder)) == 1
    assert len(listings) == 1
    assert len(list((tmp_path / "cache/archives/imagenet-1k").glob("*.npy"))) == 2  # of train and of val
    with pytest.raises(UserError, match="has no semseg: it has images alone"):
        open_split("imagenet-1k", "train", folder, tasks=["semseg"])


# damage


def test_find_says_what_was_looked_for_and_what_to_get(tmp_path, pascal):
    assert find("pascal-context", tmp_path) == find("pascal-context", pascal) == pascal
    with pytest.raises(UserError, match=r"NYUD-v2 is not in .* holds images/ and gt_sets/; get NYUDv2.tar.gz.*NYUDv2/"):
        find("nyud-v2", tmp_path)
    with pytest.raises(UserError, match="did you mean nyud-v2"):
        find("nyud-v", tmp_path)
    with pytest.raises(UserError, match="cannot be listed"):
        find("nyud-v2", tmp_path / "nothing")
    shutil.copytree(pascal, tmp_path / "PASCAL_MT")
    with pytest.raises(UserError, match=r"several copies of PASCAL-Context: .*PASCALContext, .*PASCAL_MT"):
        find("pascal-context", tmp_path)


def test_names_without_files_are_found_on_opening(pascal, nyud):
    with (pascal / "ImageSets/Context/train.txt").open("a") as file:
        file.write("nobody\n")
    with pytest.raises(UserError, match=r"1 of the 5 names in .*train.txt have no image, nobody for one"):
        open_split("pascal-context", "train", pascal)
    (nyud / "gt_sets/val.txt").unlink()
    with pytest.raises(UserError, match=r"list .*val.txt is missing"):
        open_split("nyud-v2", "test", nyud)
    (nyud / "gt_sets/val.txt").write_text("\n")
    with pytest.raises(UserError, match=r"val.txt is empty"):
        open_split("nyud-v2", "test", nyud)
    with pytest.raises(UserError, match="no split named 'val'"):
        open_split("nyud-v2", "val", nyud)
    with pytest.raises(UserError, match="no task of NYUD-v2 named 'parsing'"):
        open_split("nyud-v2", "train", nyud, tasks=["parsing"])


def truncate(path: Path) -> None:
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def garbage(path: Path) -> None:
    path.write_bytes(b"MATLAB 5.0 MAT-file, it says" + bytes(range(256)) * 4)


def other_size(path: Path) -> None:
    if path.suffix == ".mat":
        savemat(path, {"LabelMap": np.zeros((9, 8), dtype=np.uint16)})
    elif path.suffix == ".npy":
        np.save(path, np.ones((9, 8), dtype=np.float32))
    else:
        Image.open(path).resize((8, 9), Image.Resampling.NEAREST).save(path)


def millimetres(path: Path) -> None:
    np.save(path, np.load(path) * 1000)


def objects(path: Path) -> None:
    np.save(path, np.array([{"a": 1}], dtype=object), allow_pickle=True)


def label_77(path: Path) -> None:
    Image.fromarray(np.full(Image.open(path).size[::-1], 77, dtype=np.uint8)).save(path)


def other_struct(path: Path) -> None:
    savemat(path, {"anno": np.zeros((2, 2))})


def tail(path: Path) -> None:
    mask = np.ones(archives.PASCAL_SIZES[0], dtype=bool)
    archives.write_parts(path, [(mask, [("tail", mask)])], mask.shape)


@pytest.mark.parametrize(
    ("task", "file", "damage", "words"),
    [
        ("image", "JPEGImages/train0.jpg", truncate, "is not an image or is damaged"),
        ("image", "JPEGImages/train0.jpg", garbage, "is not an image or is damaged"),
        ("semseg", "semseg/VOC12/train0.png", truncate, "is not an image or is damaged"),
        ("semseg", "semseg/VOC12/train0.png", other_size, "is 9 x 8 while its image is 37 x 50"),
        ("semseg", "semseg/VOC12/train0.png", label_77, "holds the label 77; 0 to 20"),
        ("parsing", "human_parts/train0.mat", garbage, "not a MATLAB file with anno or is damaged"),
        ("parsing", "human_parts/train0.mat", truncate, "not a MATLAB file with anno or is damaged"),
        ("parsing", "human_parts/train0.mat", other_struct, "not an annotation of PASCAL-Part"),
        ("parsing", "human_parts/train0.mat", tail, "not an annotation of PASCAL-Part .*tail"),
        ("saliency", "sal_distill/train0.png", other_size, "is 9 x 8 while"),
        ("normals", "normals_distill/train0.png", other_size, "is 9 x 8 while"),
        ("normals", "normals_distill/train0.png", label_77, r"numbers of shape \(h, w, 3\) are expected"),
        ("boundary", "pascal-context/trainval/train0.mat", garbage, "not a MATLAB file with LabelMap"),
        ("boundary", "pascal-context/trainval/train0.mat", other_struct, "not a MATLAB file with LabelMap"),
        ("boundary", "pascal-context/trainval/train0.mat", other_size, "is 9 x 8 while"),
        ("depth", "depth/train0.npy", truncate, "not a NumPy array or is damaged"),
        ("depth", "depth/train0.npy", objects, "not a NumPy array or is damaged"),
        ("depth", "depth/train0.npy", millimetres, "holds the depth .*: depths are metres"),
        ("depth", "depth/train0.npy", other_size, "is 9 x 8 while its image is 34 x 45"),
        ("semseg", "segmentation/train0.png", label_77, "holds the label 76; 0 to 39"),
    ],
)
def test_damage_is_one_sentence_and_the_check_finds_it(tmp_path, task, file, damage, words):
    pascal = file.split("/")[0] not in ("depth", "segmentation")
    dataset = "pascal-context" if pascal else "nyud-v2"
    folder = (archives.pascal_context if pascal else archives.nyud)(tmp_path / "copy", train=1, test=1)
    damage(folder / file)
    split = open_split(dataset, "train", folder, tasks=[task] if task != "image" else [])
    with pytest.raises(UserError, match=words) as caught:
        split[0]
    assert str(folder / file) in str(caught.value)
    (report,) = check(tmp_path)
    train, test = report.splits
    assert not report.whole
    assert any(str(folder / file) in problem for problem in report.problems)
    assert train.kinds[task].right == 0
    assert test.kinds[task].right == 1


# the check


def test_whole_copies_are_whole_and_their_variant_is_told(tmp_path, pascal, nyud, capsys):
    reports = {report.dataset: report for report in check(tmp_path)}
    assert [report.problems for report in reports.values()] == [[], []]
    assert reports["pascal-context"].sizes == {"37 x 50": 3, "50 x 33": 2, "41 x 41": 2}
    assert f"{nyud}/normals/*.png (7)" in reports["nyud-v2"].layout
    assert any("train has 4 images, the paper's 4,998" in note for note in reports["pascal-context"].notes)
    assert any("another size than the paper's copy, whose images are 425 x 560" in n for n in reports["nyud-v2"].notes)
    assert data_check.check(tmp_path, as_json=False) == 0
    printed = capsys.readouterr().out
    assert "ImageNet-1k is not here: get ILSVRC2012_img_train.tar" in printed
    assert "PASCAL-Context in" in printed


def test_check_counts_what_is_missing(tmp_path, pascal, nyud, capsys):
    shutil.rmtree(pascal / "normals_distill")
    (pascal / "sal_distill/train1.png").unlink()
    (pascal / "JPEGImages/test0.jpg").unlink()
    with (nyud / "gt_sets/train.txt").open("a") as file:
        file.write("train0\n")
    (nyud / "gt_sets/val.txt").unlink()
    assert data_check.check(tmp_path, as_json=True) == 2
    told = json.loads(capsys.readouterr().out)
    assert not told["whole"]
    first, second = told["found"]
    problems = "\n".join(first["problems"] + second["problems"])
    assert "train has no labels of normals at all: get PASCALContext.tar.gz" in problems
    assert "train lacks 1 of 4 labels of saliency: train1." in problems
    assert "test lacks 1 of 3 images: test0." in problems
    assert "the list of train names train0 more than once" in problems
    assert "val.txt is missing" in problems
    assert [absent["dataset"] for absent in told["absent"]] == ["nyu-depth", "imagenet-1k"]


def test_check_refuses_images_beyond_the_networks_size(tmp_path):
    archives.nyud(tmp_path / "NYUD_MT", train=1, test=1, sizes=[(480, 640), (425, 560)])
    (report,) = check(tmp_path)
    assert any("1 images are larger than the network's 448 x 576, such as 480 x 640" in p for p in report.problems)
    split = open_split("nyud-v2", "train", tmp_path, transform=EvaluationTransform((448, 576)))
    with pytest.raises(UserError, match="train0 is 480 x 640, larger than the network's 448 x 576"):
        split[0]


def test_check_samples_imagenet_and_counts_all(tmp_path):
    folder = archives.imagenet(tmp_path / "ILSVRC2012")
    truncate(folder / "train/n00000000/n00000000_1.JPEG")
    (report,) = check(tmp_path)
    assert any("train has 6 images, the paper's 1,281,167" in problem for problem in report.problems)
    assert any("n00000000_1.JPEG is not an image or is damaged" in problem for problem in report.problems)


def test_check_in_processes_tells_the_same(tmp_path):
    pascal = archives.pascal_context(tmp_path / "PASCALContext", train=40, test=1)
    truncate(pascal / "JPEGImages/train2.jpg")
    counted = []
    alone, together = check(tmp_path), check(tmp_path, workers=2, progress=lambda done, n: counted.append((done, n)))
    assert alone == together
    assert counted[-1] == (41, 41)


def test_an_empty_folder_is_not_whole(tmp_path, capsys):
    assert data_check.check(tmp_path, as_json=False) == 2
    assert capsys.readouterr().out.count("is not here: get") == 4
    with pytest.raises(UserError, match="cannot be listed"):
        data_check.check(tmp_path / "nothing", as_json=False)
