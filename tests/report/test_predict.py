"""`sakbench predict`: pictures and files to score, of images of any size, from both kinds of checkpoint."""

import json

import numpy as np
import pytest
import torch
from PIL import Image
from timm.models.vision_transformer import VisionTransformer
from torch import nn

from sakbench.backbones.encoder import Encoder
from sakbench.errors import UserError
from sakbench.models import SAK, PlainStudent, reference
from sakbench.report.predict import image_files, predict, read_image
from sakbench.scoring.dense import reader
from sakbench.scoring.files import GREY, read
from sakbench.scoring.writing import as_pixels, write_png
from sakbench.training import prediction
from sakbench.training.prediction import Spot, place

TASKS = {"semseg": 5, "parsing": 7, "saliency": 2, "normals": 3, "boundary": 1, "depth": 1}


def student(image_size=(32, 32)) -> SAK:
    torch.manual_seed(0)
    stem = Encoder(VisionTransformer(image_size, 8, embed_dim=64, depth=4, num_heads=1, num_classes=0))
    model = SAK(stem, {"DINOv2": 64, "CLIP": 48}, TASKS)
    for parameter in model.parameters():
        nn.init.normal_(parameter, std=0.1)
    return model.eval()


@pytest.fixture
def checkpoint(tmp_path):
    student().save_pretrained(tmp_path / "student")
    return tmp_path / "student"


def picture(path, height, width, seed=0):
    pixels = np.random.default_rng(seed).integers(0, 256, (height // 4 + 1, width // 4 + 1, 3), dtype=np.uint8)
    Image.fromarray(pixels).resize((width, height), Image.Resampling.BICUBIC).save(path)
    return path


def test_what_is_written_where(checkpoint, tmp_path, capsys):
    folder, output = tmp_path / "photos", tmp_path / "out"
    folder.mkdir()
    sizes = {"wide": (20, 90), "tall": (120, 30), "exact": (32, 32), "tiny": (5, 3)}
    for name, (height, width) in sizes.items():
        picture(folder / f"{name}.png", height, width)
    grey = Image.fromarray(np.zeros((40, 40), np.uint8)).save(folder / "grey.JPG")
    assert grey is None
    (folder / "notes.txt").write_text("no image")
    predict(checkpoint, [folder, folder / "wide.png"], output, as_json=True)
    told = json.loads(capsys.readouterr().out)
    assert set(told["images"]) == {*sizes, "grey"}
    assert told["tasks"] == list(TASKS)
    for kind in ("pictures", "predictions"):
        for task in TASKS:
            names = {path.stem for path in (output / kind / task).iterdir()}
            assert names == {*sizes, "grey"}
            for name, (height, width) in sizes.items():
                assert Image.open(output / kind / task / f"{name}.png").size == (width, height)
    assert {path.stem for path in (output / "sheets").iterdir()} == {*sizes, "grey"}
    assert min(Image.open(output / "sheets" / "wide.png").size) > 100


def test_an_image_of_the_networks_size_is_predicted_as_it_is(checkpoint, tmp_path):
    """What is written is what the student says of the normalised image; `sakbench score` reads it back."""
    path = picture(tmp_path / "image.png", 32, 32)
    predict(checkpoint, [path], tmp_path / "out")
    mean, std = torch.tensor([0.485, 0.456, 0.406]), torch.tensor([0.229, 0.224, 0.225])
    pixels = torch.from_numpy(np.array(Image.open(path))).float() / 255
    with torch.inference_mode():
        logits = student()(((pixels - mean) / std).permute(2, 0, 1)[None])
    tasks = prediction.tasks_of(student())
    tolerance = {"saliency": 0.5 / 255, "normals": 1 / 255, "depth": 0.0005}
    for name, task in tasks.items():
        expected, written = task.decode(logits[name])[0], tmp_path / "out" / "predictions" / name / "image.png"
        if name == "boundary":
            assert np.array_equal(read(written, GREY), (expected.numpy() * 255).astype(np.uint8))
        else:
            found = reader(name).prediction(written)
            due = expected.clamp(min=0) if name == "depth" else expected
            assert (found.float() - due.float()).abs().max() <= tolerance.get(name, 0) + 1e-6
        shown = np.array(Image.open(tmp_path / "out" / "pictures" / name / "image.png"))
        assert np.array_equal(shown, task.colours(expected))


def test_images_keep_their_proportions_and_are_centred():
    assert place((512, 512), (512, 512)) == Spot(512, 512, 0, 0)
    assert place((375, 500), (512, 512)) == Spot(375, 500, 68, 6)  # fits: padded alone, as in evaluation
    assert place((1024, 768), (512, 512)) == Spot(512, 384, 0, 64)
    assert place((64, 48), (512, 512)) == Spot(512, 384, 0, 64)  # less than half both ways
    assert place((64, 480), (512, 512)) == Spot(64, 480, 224, 16)
    assert place((425, 560), (448, 576)) == Spot(425, 560, 11, 8)
    assert place((1, 5000), (512, 512)) == Spot(1, 512, 255, 0)


class Echo(nn.Module):
    """A student whose depth is the red channel that it sees, whatever surrounds it."""

    def __init__(self, image_size, output_size=None, own_input=False):
        super().__init__()
        self.tasks, self.output_size = {"depth": 1}, output_size
        self.backbone = type("Backbone", (), {"image_size": image_size, "own_input": own_input})
        self.unused = nn.Parameter(torch.zeros(1))

    def forward(self, images, output_size):
        self.seen = tuple(images.shape[2:])
        return {"depth": nn.functional.interpolate(images[:, :1], output_size, mode="bilinear")}


@pytest.mark.parametrize("size", [(30, 60), (64, 128), (90, 40), (250, 125), (9, 20)])
def test_a_prediction_lies_where_its_image_does(size, monkeypatch):
    """A ramp across the image comes back as that ramp, at the image's size, on bands too."""
    monkeypatch.setattr(prediction, "_BAND_PIXELS", 500)
    ramp = np.linspace(0, 255, size[1])[None] + np.zeros((size[0], 1))
    image = Image.fromarray(np.repeat(ramp.round().astype(np.uint8)[..., None], 3, axis=2))
    depth = prediction.predict(Echo((64, 64)), image, prediction.tasks_of(Echo((64, 64))))["depth"]
    assert depth.shape == size
    expected = (torch.from_numpy(ramp).float() / 255 - 0.485) / 0.229
    assert (depth - expected).abs().max() < 0.2  # of a range of 4.4


def test_a_model_with_an_input_of_its_own_gives_maps_of_the_trained_size():
    mini, nyud = Echo((128, 128), (64, 64), own_input=True), Echo((1024, 1024), (448, 576), own_input=True)
    assert prediction.sizes(mini) == ((128, 128), (64, 64))
    assert prediction.sizes(nyud) == ((796, 1024), (448, 576))
    image = Image.new("RGB", (100, 50))
    assert prediction.predict(mini, image, prediction.tasks_of(mini))["depth"].shape == (50, 100)
    assert mini.seen == (128, 128)


def test_predictions_survive_their_files(tmp_path):
    generator = torch.Generator().manual_seed(0)
    normals = nn.functional.normalize(torch.randn(3, 20, 30, generator=generator), dim=0)
    depth = torch.rand(20, 30, generator=generator) * 80 - 1
    for task, values in (("normals", normals), ("depth", depth)):
        write_png(tmp_path / f"{task}.png", as_pixels(task, values))
    assert (reader("normals").prediction(tmp_path / "normals.png") - normals).abs().max() < 1 / 255
    back = reader("depth").prediction(tmp_path / "depth.png")
    assert (back - depth.clamp(0, 65.535)).abs().max() < 0.0006


def test_the_authors_files_and_sizes_that_they_do_not_tell(tmp_path):
    torch.save({"model": reference.state_dict(student((24, 40)))}, tmp_path / "nyud.pth")
    image = picture(tmp_path / "image.png", 30, 50)
    with pytest.raises(UserError, match="form no square: say the image size"):
        predict(tmp_path / "nyud.pth", [image], tmp_path / "out")
    predict(tmp_path / "nyud.pth", [image], tmp_path / "out", size="24x40", tasks=["depth", "semseg"])
    assert {path.name for path in (tmp_path / "out" / "predictions").iterdir()} == {"depth", "semseg"}


def test_the_last_line_says_what_is_where(checkpoint, tmp_path, capsys):
    predict(checkpoint, [picture(tmp_path / "image.png", 30, 50)], tmp_path / "out", tasks=["depth"])
    line = capsys.readouterr().out.splitlines()[-1]
    assert line.startswith("depth of 1 image in ")
    assert str(tmp_path / "out") in line


def test_images_are_turned_upright(tmp_path):
    exif = Image.Exif()
    exif[0x0112] = 6  # the camera was turned
    Image.new("RGB", (40, 20)).save(tmp_path / "turned.jpg", exif=exif)
    assert read_image(tmp_path / "turned.jpg").size == (20, 40)


def test_bad_images_are_named(checkpoint, tmp_path):
    good = picture(tmp_path / "good.png", 40, 50)
    (tmp_path / "text.png").write_text("no image")
    (tmp_path / "half.png").write_bytes(good.read_bytes()[:200])
    Image.fromarray(np.zeros((20, 20), np.uint16)).save(tmp_path / "deep.png")
    (tmp_path / "empty").mkdir()
    for folder in ("a", "b"):
        (tmp_path / folder).mkdir()
        picture(tmp_path / folder / "same.png", 20, 20)
    picture(tmp_path / "a" / "same.jpg", 20, 20)
    for images, message in (
        ([tmp_path / "absent.png"], "there is no image .*absent.png"),
        ([good, tmp_path / "text.png"], "text.png is not an image"),
        ([tmp_path / "half.png"], "half.png cannot be read"),
        ([good, tmp_path / "deep.png"], "deep.png has more than 8 bits per channel"),
        ([tmp_path / "empty"], "empty holds no image"),
        ([tmp_path / "a" / "same.png", tmp_path / "b"], "under one name"),
        ([tmp_path / "a"], "under one name"),
        ([], "there is no image to predict"),
    ):
        with pytest.raises(UserError, match=message):
            predict(checkpoint, images, tmp_path / "out")
    assert not (tmp_path / "out").exists()
    assert [name for name, _ in image_files([good, tmp_path / "b", good])] == ["good", "same"]


def test_bad_wishes_are_refused(checkpoint, tmp_path):
    image = picture(tmp_path / "image.png", 40, 50)
    (tmp_path / "file").write_text("in the way")
    SAK(student().stem, {"CLIP": 64}).save_pretrained(tmp_path / "stage1")
    PlainStudent(student().stem, {"saliency": 1}).save_pretrained(tmp_path / "odd")
    for folder, options, message in (
        (checkpoint, {"tasks": ["semsegg"]}, "did you mean semseg"),
        (checkpoint, {"size": "448"}, "is not HxW"),
        (checkpoint, {"size": "30x30"}, "multiples of 8"),
        (tmp_path / "stage1", {}, "no tasks yet"),
        (tmp_path / "odd", {}, "saliency takes 2 channels"),
        (tmp_path / "nowhere", {}, "there is no checkpoint"),
        (checkpoint, {"output": tmp_path / "file"}, "cannot be written"),
    ):
        with pytest.raises(UserError, match=message):
            predict(folder, [image], options.pop("output", tmp_path / "out"), **options)
    assert not (tmp_path / "out").exists()
