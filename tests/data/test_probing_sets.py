"""NYUd and ImageNet-1k's classes, for the probes that read them: on small files in the real layouts."""

import numpy as np
import pytest
import torch

from sakbench.backbones import info
from sakbench.data.archives import open_split
from sakbench.data.archives.check import check
from sakbench.data.transforms import ClassifyTransform, CropTransform, DepthEvaluationTransform, DepthTransform
from sakbench.errors import UserError
from tests.data import archives


@pytest.fixture(scope="module")
def nyu(tmp_path_factory):
    return archives.nyu_depth(tmp_path_factory.mktemp("data") / "nyu").parent


def test_depth_is_in_metres_and_unknown_where_it_is_0(nyu):
    split = open_split("nyu-depth", "train", nyu, tasks=("depth",))
    assert len(split) == 3
    item = split[0]
    parts = archives.regions("train0", (480, 640), 6)
    expected = np.array([255, 0.5, 2, 9.75, 4, 12], dtype=np.float32)[parts]
    np.testing.assert_array_equal(item["depth"], expected)
    assert item["image"].shape == (480, 640, 3)
    assert item["name"] == "room_0/rgb_train0.jpg"
    (report,) = check(nyu)
    assert report.whole
    assert report.sizes == {"480 x 640": 5}
    assert "24,231" in report.notes[0]


def test_what_a_copy_lacks_is_told(tmp_path):
    folder = archives.nyu_depth(tmp_path / "nyu")
    (folder / "room_1/sync_depth_train1.png").unlink()
    with pytest.raises(UserError, match=r"1 of the 6 files .*nyu_train.txt lists are missing, .*sync_depth_train1"):
        open_split("nyu-depth", "train", tmp_path)
    (folder / "nyu_test.txt").write_text("one two three four\n")
    with pytest.raises(UserError, match=r"line 1 of .*nyu_test.txt is no image, depth and focal length"):
        open_split("nyu-depth", "test", tmp_path)
    (folder / "nyu_test.txt").write_text("\n")
    with pytest.raises(UserError, match="empty"):
        open_split("nyu-depth", "test", tmp_path)
    with pytest.raises(UserError, match=r"holds nyu_train.txt and nyu_test.txt"):
        open_split("nyu-depth", "train", folder / "room_0")


def test_training_crops_lie_inside_the_frame(nyu):
    size = info("vit_base_patch14_dinov2.lvd142m").padded((416, 544))
    assert size == (420, 546)
    assert info("samvit_base_patch16.sa1b").padded((416, 544)) == (416, 544)
    split = open_split("nyu-depth", "train", nyu, tasks=("depth",), transform=DepthTransform(size))
    items = [split[0, seed] for seed in range(6)]
    for item in items:
        assert item["image"].shape == (3, 420, 546)
        assert (item["depth"][:2] == 255).all()  # the padding
        assert set(item["depth"].unique().tolist()) <= {255.0, 0.5, 2.0, 9.75, 4.0, 12.0}
    assert any((items[0]["image"] != other["image"]).any() for other in items[1:])
    torch.testing.assert_close(split[0, 3]["image"], items[3]["image"])


def test_evaluation_looks_at_eigens_crop_of_the_whole_image(nyu):
    split = open_split("nyu-depth", "test", nyu, tasks=("depth",), transform=DepthEvaluationTransform((490, 644)))
    item = split[0]
    top, left, height, width = item["box"].tolist()
    assert (top, left, height, width) == (5 + 45, 2 + 41, 426, 560)
    raw = open_split("nyu-depth", "test", nyu, tasks=("depth",))[0]["depth"]
    inside = item["depth"][top : top + height, left : left + width]
    np.testing.assert_array_equal(inside, raw[45:471, 41:601])
    small = {"name": "x", "image": np.zeros((425, 560, 3), np.uint8)}
    with pytest.raises(UserError, match="480 x 640"):
        DepthEvaluationTransform()(small)


def test_an_image_s_class_is_its_folder_s_place(tmp_path):
    archives.imagenet(tmp_path / "imagenet", flat=False)
    train = open_split("imagenet-1k", "train", tmp_path, with_label=True)
    assert [train[row]["label"] for row in range(len(train))] == [0, 0, 0, 1, 1, 1]
    test = open_split("imagenet-1k", "test", tmp_path, with_label=True, transform=ClassifyTransform((16, 16)))
    assert sorted(test[row]["label"] for row in range(len(test))) == [0, 0, 1, 1]
    assert test[0]["image"].shape == (3, 16, 16)
    crops = open_split("imagenet-1k", "train", tmp_path, transform=CropTransform((16, 16)))
    assert (crops[0, 1]["image"] != crops[0, 2]["image"]).any()


def test_a_flat_validation_set_needs_the_list_of_its_classes(tmp_path):
    folder = archives.imagenet(tmp_path / "imagenet", flat=True)
    with pytest.raises(UserError, match=r"class folders, or LOC_val_solution.csv"):
        open_split("imagenet-1k", "test", tmp_path, with_label=True)
    lines = "".join(f"ILSVRC2012_val_{i:08d},n{i % 2:08d} 1 2 3 4\n" for i in range(4))
    (folder / "LOC_val_solution.csv").write_text(f"ImageId,PredictionString\n{lines}")
    test = open_split("imagenet-1k", "test", tmp_path, with_label=True)
    assert [test[row]["label"] for row in range(4)] == [0, 1, 0, 1]
    (folder / "LOC_val_solution.csv").write_text("a,b\n1,2\n")
    with pytest.raises(UserError, match=r"LOC_val_solution.csv cannot be read"):
        open_split("imagenet-1k", "test", tmp_path, with_label=True)


def test_the_middle_of_an_image_is_256_parts_of_224():
    image = np.zeros((512, 600, 3), np.uint8)
    image[32:480, 76:524] = 255  # of 600: (600 - 448) / 2
    item = ClassifyTransform((224, 224))({"image": image})
    white = (1 - torch.tensor([0.485, 0.456, 0.406])) / torch.tensor([0.229, 0.224, 0.225])
    torch.testing.assert_close(item["image"][:, 3:-3, 3:-3], white.view(3, 1, 1).expand(3, 218, 218))
