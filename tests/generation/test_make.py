"""`sakbench pairs make` with photographs: tiny models of the real kinds, real pipelines, as a user runs it."""

import json
import shutil
import threading

import numpy as np
import pytest
from filelock import FileLock
from PIL import Image
from safetensors.torch import load_file, save_file
from skimage.data import chelsea, coffee
from skimage.draw import ellipse
from sklearn.datasets import load_sample_image

from sakbench.data.pairs import exact, gates, manifest, read
from sakbench.generation import make as making
from sakbench.generation import pinned
from sakbench.generation.judge import Judge
from sakbench.report import pairs_making
from tests.generation import tiny_models


@pytest.fixture(scope="module")
def models(tmp_path_factory):
    """The folders of tiny models."""
    folder = tmp_path_factory.mktemp("models")
    for name in ("base", "controlnet", "judge", "depth"):
        getattr(tiny_models, f"write_{name}")(folder / name)
    return folder


@pytest.fixture(scope="module")
def photographs(tmp_path_factory):
    """Two photographs and a rendered scene, with masks, and a background."""
    folder = tmp_path_factory.mktemp("photographs")
    pairs = folder / "exact"
    made = exact.make(pairs, count=8)
    row = max(range(8), key=lambda n: made.pairs[n].objects[0].gates.change_inside)
    scene = np.asarray(Image.open(pairs / made.pairs[row].before))
    size = (300, 300)
    things = {
        "chelsea": (chelsea(), ellipse(140, 215, 110, 120, chelsea().shape[:2])),
        "coffee": (coffee(), ellipse(200, 300, 110, 150, coffee().shape[:2])),
        "scene": (np.asarray(Image.fromarray(scene).resize(size)), ellipse(150, 150, 80, 60, size)),
    }
    for name, (image, where) in things.items():
        mask = np.zeros(image.shape[:2], np.uint8)
        mask[where] = 255
        for kind, picture in (("images", image), ("masks", mask)):
            (folder / kind).mkdir(exist_ok=True)
            Image.fromarray(picture).save(folder / kind / f"{name}.png")
    Image.fromarray(load_sample_image("china.jpg")).save(folder / "china.png")
    return folder


@pytest.fixture
def lenient(monkeypatch):
    """Gates that random weights can pass."""
    for name, value in {"LEAST_MASK_IOU": 0, "MOST_CHANGE_OUTSIDE": 1, "LEAST_CLASS_SHARE": 0}.items():
        monkeypatch.setattr(gates, name, value)


@pytest.fixture
def make(sakbench, models, photographs):
    """The command with the tiny models, in few steps."""

    def call(*more, **instead):
        options = {"base": "base", "controlnet": "controlnet", "judge": "judge"} | instead
        named = [word for option, name in options.items() if name for word in (f"--{option}", str(models / name))]
        background = ["--background", str(photographs / "china.png"), "--steps", "2", "--attempts", "1"]
        return sakbench("pairs", "make", str(photographs), *background, *named, *more)

    return call


def content(folder):
    return {
        str(file.relative_to(folder)): file.read_bytes()
        for file in folder.rglob("*")
        if file.suffix in (".png", ".json")
    }


def test_photographs_become_pairs_that_can_be_read_again(make, lenient, tmp_path):
    done = make("--place", "0.5@0.3,0.6", "--place", "0.2@0.8,0.5", "--side", "96", "--new", "tiger")
    assert done.returncode == 0, done.stderr
    assert "1 pair of 2 objects, cat to tiger, in pairs" in done.stdout and "not installed" not in done.stderr
    found = read(tmp_path / "pairs")
    pictures = manifest.pictures(tmp_path / "pairs", found)
    apart = (pictures.before != pictures.after).any(-1)
    assert not apart[pictures.masks == 0].any() and apart[pictures.masks > 0].mean() > 0.9
    (pair,) = found.pairs
    assert [one.source for one in pair.objects] == ["chelsea.png", "coffee.png"] and pair.background == "china.png"
    assert [one.seed for one in pair.objects] == [0, 1] and pair.objects[0].prompt == "a photo of a tiger"
    assert 0 < pair.objects[0].gates.class_share < 1
    assert found.made_with["places"] == "0.5@0.3,0.6 0.2@0.8,0.5" and "diffusers" in found.made_with
    text = (tmp_path / "pairs" / "manifest.json").read_text()
    assert str(tmp_path / "pairs") not in text
    shown = {"original", "control", "counterfactual", "mask"}
    assert {file.stem for file in (tmp_path / "pairs" / "objects" / "000").glob("*.png")} == shown
    before = content(tmp_path / "pairs")
    again = make("--place", "0.5@0.3,0.6", "--place", "0.2@0.8,0.5", "--side", "96", "--new", "tiger", "--json")
    assert json.loads(again.stdout)["identity"] == found.identity and content(tmp_path / "pairs") == before
    other = make("--place", "0.5@0.3,0.6", "--side", "96", "--new", "tiger")
    assert other.returncode == 2
    assert "holds pairs made with another places (0.5@0.3,0.6 0.2@0.8,0.5, now 0.5@0.3,0.6)" in other.stderr
    (tmp_path / "pairs" / "000-after.png").write_bytes(b"")  # a damaged picture is mended
    make("--place", "0.5@0.3,0.6", "--place", "0.2@0.8,0.5", "--side", "96", "--new", "tiger")
    assert content(tmp_path / "pairs") == before


def test_what_was_stopped_goes_on_and_ends_the_same(make, lenient, monkeypatch, tmp_path):
    whole = make("--output", "whole", "--side", "64")
    assert whole.returncode == 0 and "4 objects were asked for and 3 are there" in whole.stdout
    usual, drawn = making._draw, []

    def stopped(*arguments):
        if len(drawn) == 2:
            raise KeyboardInterrupt
        drawn.append(1)
        return usual(*arguments)

    monkeypatch.setattr(making, "_draw", stopped)
    first = make("--output", "stopped", "--side", "64")
    assert first.returncode == 130 and "the same command goes on from there" in first.stdout
    assert not (tmp_path / "stopped" / "manifest.json").exists()
    monkeypatch.setattr(making, "_draw", lambda *arguments: drawn.append(1) or usual(*arguments))
    assert make("--output", "stopped", "--side", "64").returncode == 0
    assert len(drawn) == 3  # the third alone was drawn again
    one, two = (content(tmp_path / name) for name in ("whole", "stopped"))
    named = {name: text.replace(b'"name": "stopped"', b'"name": "whole"') for name, text in two.items()}
    assert named == one
    (tmp_path / "stopped" / "manifest.json").unlink()
    (tmp_path / "stopped" / "objects" / "001" / "mask.png").write_bytes(b"")  # what is damaged is drawn again
    assert make("--output", "stopped", "--side", "64").returncode == 0 and content(tmp_path / "stopped") == two
    (tmp_path / "stopped" / "manifest.json").unlink()
    other = make("--output", "stopped", "--side", "64", "--seed", "9")
    assert other.returncode == 2
    assert "000 was drawn with another seed (0, now 9): name another --output" in other.stderr


def test_objects_that_fail_are_told_and_kept_apart(make, monkeypatch, tmp_path):
    done = make("--attempts", "2")
    assert done.returncode == 2
    assert "none of 3 objects became a dog; of chelsea.png: " in done.stderr and "around it changed" in done.stderr
    assert len(list((tmp_path / "pairs" / "objects").iterdir())) == 3
    seeds = [json.loads(f.read_text())["seed"] for f in sorted((tmp_path / "pairs").rglob("object.json"))]
    assert all(seed // 2 == number for number, seed in enumerate(seeds))  # two draws each
    records = [json.loads(f.read_text()) for f in (tmp_path / "pairs").rglob("object.json")]
    middle = sorted(record["gates"]["change_inside"] for record in records)[1]
    monkeypatch.setattr(gates, "failures", lambda one: ("it is ugly",) if one.change_inside < middle else ())
    some = make("--attempts", "2", "--side", "64")
    assert some.returncode == 0 and "it is ugly (pairs/objects/0" in some.stdout
    found = read(tmp_path / "pairs")
    assert len(found.pairs[0].objects) == 2 and [lost.reasons for lost in found.rejected] == [("it is ugly",)]


def test_other_photographs_backgrounds_and_weights_are_told_from_the_first(
    make, lenient, models, photographs, tmp_path, sakbench
):
    small = ("--side", "64", "--place", "0.5@0.5,0.5")
    assert make(*small).returncode == 0
    before = content(tmp_path / "pairs")
    other = make(*small, "--background", str(photographs / "images" / "coffee.png"))
    assert other.returncode == 2 and "holds pairs of other photographs" in other.stderr
    with_label = make(*small, "--label", "3")
    assert with_label.returncode == 2 and "there is no cat" in with_label.stderr
    shutil.copytree(models / "controlnet", tmp_path / "controlnet")
    same = make(*small, controlnet=tmp_path / "controlnet")  # wherever it lies
    assert same.returncode == 0 and content(tmp_path / "pairs") == before
    file = tmp_path / "controlnet" / "diffusion_pytorch_model.safetensors"
    weights = load_file(file)
    save_file({name: 2 * values for name, values in weights.items()}, file)
    changed = make(*small, controlnet=tmp_path / "controlnet")
    assert changed.returncode == 2 and "made with another controlnet (controlnet " in changed.stderr
    assert content(tmp_path / "pairs") == before


def test_depth_holds_as_well_as_edges(make, lenient, tmp_path):
    done = make("--control", "depth", "--side", "64", controlnet="controlnet", detector="depth")
    assert done.returncode == 0, done.stderr
    control = np.asarray(Image.open(tmp_path / "pairs" / "objects" / "000" / "control.png"))
    assert control.min() == 0 and control.max() == 255 and len(np.unique(control)) > 20
    assert read(tmp_path / "pairs").made_with["control"].startswith("depth by ")


def test_an_unsafe_picture_is_rejected(make, lenient, models):
    if not (models / "flags").exists():
        tiny_models.write_base(models / "flags", flags_all=True)
    done = make(base="flags")
    assert done.returncode == 2 and "the safety checker has blackened it" in done.stderr


def test_nothing_is_drawn_without_a_safety_checker(make, models):
    copied = models / "unchecked"
    tiny_models.write_base(copied)
    index = json.loads((copied / "model_index.json").read_text())
    (copied / "model_index.json").write_text(json.dumps(index | {"safety_checker": [None, None]}))
    done = make(base="unchecked")
    assert done.returncode == 2 and "has no safety checker" in done.stderr


@pytest.mark.parametrize(
    ("instead", "more", "said"),
    [
        ({"base": "judge"}, (), "the diffusion model cannot be read from"),
        ({"controlnet": "judge"}, (), "the ControlNet cannot be read from"),
        ({"judge": "depth"}, (), "the classifier cannot be read from"),
        ({"controlnet": "base/unet"}, (), "weights are missing: it is a model of another kind"),
        ({"controlnet": "nothing"}, (), "is neither a folder nor NAME@COMMIT"),
        ({}, ("--judge", "openai/clip-vit-large-patch14"), "is neither a folder nor NAME@COMMIT"),
        ({"detector": "depth"}, (), "--detector is the network for --control depth"),
        ({}, ("--control", "egdes"), "no control named 'egdes': did you mean edges?"),
        ({}, ("--place", "2@0,0"), "leaves the picture"),
        ({}, ("--device", "cpuu"), "no device named 'cpuu': did you mean cpu?"),
        ({}, ("--split", "test"), "a folder has images/ and masks/ alone"),
        ({}, ("--new", "cat"), "are the same class"),
        ({}, ("--new", ""), "must name a class each"),
        ({}, ("--prompt", "a dog " * 50), "--prompt must be at most 150 printable characters"),
        ({}, ("--old", "cat\n"), "--old must be at most 150 printable characters"),
        ({}, ("--label", "7"), "there is no cat to be changed"),
        ({}, ("--side", "4"), "--side is 4: it must be from 32 to 4096"),
        ({"controlnet": ""}, ("--controlnet", "lllyasviel/control_v11p_sd15_canny@main"), "nor NAME@COMMIT"),
        ({}, ("--background", "nowhere.png"), "there is no background nowhere.png"),
    ],
)
def test_bad_input_is_one_sentence(make, instead, more, said):
    done = make(*more, **instead)
    assert (
        done.returncode == 2 and said in done.stderr and done.stderr.count("\n") == 1 and not done.stdout.count("Trace")
    )


def test_weights_that_are_cut_short(make, models):
    copied = models / "short"
    tiny_models.write_controlnet(copied)
    file = copied / "diffusion_pytorch_model.safetensors"
    file.write_bytes(file.read_bytes()[:2000])
    done = make(controlnet="short")
    assert done.returncode == 2 and "the ControlNet cannot be read from" in done.stderr


def test_missing_weights_are_named_with_the_command_that_gets_them(sakbench, photographs, monkeypatch, tmp_path):
    import huggingface_hub

    def away(*names, local_files_only, **options):
        raise OSError("there is no network")

    monkeypatch.setenv("HF_HOME", str(tmp_path))
    monkeypatch.setattr(huggingface_hub, "snapshot_download", away)
    done = sakbench("pairs", "make", str(photographs), "--background", str(photographs / "china.png"))
    assert done.returncode == 2
    controlnet = pinned.CONTROLNETS["edges"]
    assert f"the ControlNet {controlnet} is neither in the Hugging Face cache" in done.stderr
    assert f"hf download {controlnet.name} --revision {controlnet.revision} --include" in done.stderr
    assert "--local-dir control_v11p_sd15_canny` and name the folder with --controlnet" in done.stderr
    assert "nobody is asked whether a dog is to be seen" in done.stdout


def test_without_the_packages_it_says_what_to_install(sakbench, photographs, monkeypatch):
    def lacking(name):
        raise pairs_making.PackageNotFoundError(name)

    monkeypatch.setattr(pairs_making, "version", lacking)
    done = sakbench("pairs", "make", str(photographs))
    assert done.returncode == 2 and "pip install 'sakbench[pairs]'" in done.stderr
    assert sakbench("pairs", "make", "miniworld", "--count", "2").returncode == 0  # needs neither


def test_two_processes_do_not_make_one_folder(make, sakbench, tmp_path):
    (tmp_path / "pairs").mkdir()
    (tmp_path / "pairs" / ".lock").touch()
    held, let_go = threading.Event(), threading.Event()

    def other():
        with FileLock(tmp_path / "pairs" / ".lock"):
            held.set()
            let_go.wait(60)

    thread = threading.Thread(target=other)
    thread.start()
    held.wait(60)
    both = make(), sakbench("pairs", "make", "miniworld", "--count", "2")
    let_go.set()
    thread.join()
    for done in both:
        assert done.returncode == 2 and "another process makes pairs in pairs: wait for it" in done.stderr


def test_nothing_of_a_users_is_written_over(make, sakbench, tmp_path):
    (tmp_path / "own").mkdir()
    (tmp_path / "own" / "000-before.png").write_text("mine")
    for done in (make("--output", "own"), sakbench("pairs", "make", "miniworld", "--count", "2", "--output", "own")):
        assert done.returncode == 2 and "own holds other files" in done.stderr
    assert (tmp_path / "own" / "000-before.png").read_text() == "mine"


def test_a_full_disk_loses_nothing(make, lenient, monkeypatch, tmp_path):
    def full(path, pixels):
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr("sakbench.whole.write_bytes", full)
        done = make("--side", "64")
    assert done.returncode == 2 and "No space left on device" in done.stderr
    assert not list((tmp_path / "pairs" / "objects").glob("0*"))
    assert make("--side", "64").returncode == 0  # when there is room again
    assert not list((tmp_path / "pairs" / "objects").glob(".*"))


def test_names_of_files_that_cannot_be_printed_are_no_hindrance(make, lenient, photographs, tmp_path, sakbench, models):
    odd = tmp_path / "photo\ngraphs ü"
    for kind in ("images", "masks"):
        (odd / kind).mkdir(parents=True)
        shutil.copy(photographs / kind / "scene.png", odd / kind / "a\x1b[31m'[b]'.png")
    names = [word for name in ("base", "controlnet") for word in (f"--{name}", str(models / name))]
    background = ["--background", str(odd / "images"), "--steps", "1", "--judge", "none", "--side", "64"]
    done = sakbench("pairs", "make", str(odd), *names, *background, "--output", str(tmp_path / "out\nput"))
    assert done.returncode == 0, done.stderr
    found = read(tmp_path / "out\nput")
    assert (
        found.name == "out?put" and found.pairs[0].objects[0].source == "a?[31m'[b]'.png" == found.pairs[0].background
    )


def test_the_judge_shares_its_belief(models):
    judge = Judge(pinned.Pinned(str(models / "judge")), "cpu")
    one, other = judge(chelsea(), "cat", "dog"), judge(chelsea(), "dog", "cat")
    assert one + other == pytest.approx(1) and judge(coffee(), "cat", "dog") != one
    assert judge(chelsea(), "cat", "cat") == pytest.approx(0.5)
