"""Counterfactual pairs on the disk: the manifest, exact pairs, objects of photographs, compositing, gates."""

import hashlib
import json
from dataclasses import replace

import numpy as np
import pytest
from PIL import Image
from skimage.data import chelsea
from skimage.draw import ellipse

from sakbench.data.pairs import compose, exact, gates, manifest, objects, read
from sakbench.errors import UserError
from tests.data.archives import pascal_context


@pytest.fixture(scope="module")
def rendered(tmp_path_factory):
    """Eight exact pairs."""
    folder = tmp_path_factory.mktemp("rendered")
    return folder, exact.make(folder, count=8)


@pytest.fixture
def copied(rendered, tmp_path):
    """A copy of them, to be damaged."""
    folder, pairs = rendered
    for file in folder.iterdir():
        (tmp_path / file.name).write_bytes(file.read_bytes())
    return tmp_path, pairs


def an_object(size=(200, 300), centre=(100, 150), radii=(60, 90)):
    mask = np.zeros(size, bool)
    mask[ellipse(*centre, *radii, size)] = True
    return mask


def test_exact_pairs_differ_in_their_objects_alone(rendered):
    folder, made = rendered
    assert read(folder) == made
    pictures = manifest.pictures(folder, made)
    apart = (pictures.before != pictures.after).any(-1)
    assert not apart[pictures.masks == 0].any()
    for pair, mask, changed in zip(made.pairs, pictures.masks, apart, strict=True):
        (one,) = pair.objects
        top, left, height, width = one.box
        assert (mask[top : top + height, left : left + width] > 0).sum() == (mask > 0).sum() > 0
        assert one.gates.change_outside == 0 and one.gates.mask_iou == 1 and not gates.failures(one.gates)
        assert changed.any()


def test_figure_6_has_the_same_pairs_everywhere_and_they_are_made_again_if_damaged(monkeypatch, tmp_path):
    monkeypatch.setenv("SAKBENCH_CACHE", str(tmp_path))
    monkeypatch.setattr(exact, "COUNT", 3)
    monkeypatch.setattr(exact.make, "__defaults__", ("cat", "dog", "test", 3))
    monkeypatch.setattr(exact.identity, "__defaults__", ("cat", "dog", "test", 3))
    folder = exact.kept()
    before = {file.name: file.read_bytes() for file in folder.iterdir()}
    (folder / "001-after.png").write_bytes(b"no picture")
    assert exact.kept() == folder
    assert {file.name: file.read_bytes() for file in folder.iterdir()} == before


def test_the_identity_of_a_set_is_its_content_whatever_it_says_of_itself(rendered):
    _, made = rendered
    photographs = replace(made, rendered="")
    assert photographs.identity == made.identity == replace(made, name="moved", made_with={}).identity
    first = replace(photographs.pairs[0], sha256=("0" * 64, *photographs.pairs[0].sha256[1:]))
    assert photographs.identity != replace(photographs, pairs=(first, *photographs.pairs[1:])).identity


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda m: m.pop("side"), "side of the set is missing"),
        (lambda m: m.update(sides=3), "sides of the set is unknown"),
        (lambda m: m.update(side="large"), "side of the set cannot be 'large'"),
        (lambda m: m.update(side=3), "side is 3"),
        (lambda m: m.update(pairs=[]), "it lists no pair"),
        (lambda m: m.update(format=2), "has format 2, and this version of sakbench reads 1"),
        (lambda m: m["pairs"][0].update(before="../secret.png"), "is no name of a file beside it"),
        (lambda m: m["pairs"][0].update(before="/etc/passwd"), "is no name of a file beside it"),
        (lambda m: m["pairs"][0].update(sha256=["0"]), "has 1 values, not 3"),
        (lambda m: m["pairs"][0]["objects"][0].update(number=0), "a number of their own"),
        (lambda m: m["pairs"][0]["objects"][0]["gates"].update(mask_iou=float("nan")), "mask_iou of"),
        (lambda m: m["pairs"][0]["objects"][0]["gates"].update(mask_iou=10**400), "mask_iou of"),
        (lambda m: m.update(name="\ud800"), "at most 200 printable characters"),
        (lambda m: m.update(old="cat\x1b[31m"), "at most 200 printable characters"),
        (lambda m: m.update(name=""), "need names"),
        (lambda m: m.update(side=4096, pairs=20 * m["pairs"]), "more than can be looked at at once"),
    ],
)
def test_a_manifest_that_makes_no_sense_is_one_sentence(copied, change, said):
    folder, _ = copied
    content = json.loads((folder / manifest.NAME).read_text())
    change(content)
    (folder / manifest.NAME).write_text(json.dumps(content))
    with pytest.raises(UserError, match=said):
        read(folder)


def test_files_that_are_gone_altered_or_of_another_kind(copied):
    folder, made = copied
    first = folder / made.pairs[0].before
    with pytest.raises(UserError, match="holds no pairs"):
        read(folder / "nothing")
    (folder / manifest.NAME).write_text("{")
    with pytest.raises(UserError, match="cannot be read"):
        read(folder)
    first.write_bytes(first.read_bytes() + b" ")
    with pytest.raises(UserError, match="has changed since"):
        manifest.pictures(folder, made)
    first.unlink()
    with pytest.raises(UserError, match="is missing"):
        manifest.pictures(folder, made)
    another = replace(
        made.pairs[0], before=made.pairs[0].mask, sha256=(made.pairs[0].sha256[2], *made.pairs[0].sha256[1:])
    )
    with pytest.raises(UserError, match="mode L: RGB is needed"):
        manifest.pictures(folder, replace(made, pairs=(another,)))
    (one,) = made.pairs[1].objects
    unseen = replace(made.pairs[1], objects=(replace(one, number=7),))
    with pytest.raises(UserError, match="shows nothing of object 7"):
        manifest.pictures(folder, replace(made, pairs=(unseen,)))
    with pytest.raises(UserError, match=r"has 128 x 128 pixels, and manifest.json says 64"):
        manifest.check(folder, replace(made, side=64, pairs=made.pairs[1:]))
    Image.fromarray(np.zeros((128, 128, 3), np.uint8)).save(folder / "photograph.png", format="JPEG")
    sha256 = hashlib.sha256((folder / "photograph.png").read_bytes()).hexdigest()
    disguised = replace(made.pairs[1], before="photograph.png", sha256=(sha256, *made.pairs[1].sha256[1:]))
    with pytest.raises(UserError, match=r"photograph.png cannot be read"):
        manifest.check(folder, replace(made, pairs=(disguised,)))


@pytest.fixture
def photographs(tmp_path):
    """A folder of photographs with masks: a whole object, one cut by the border, one that is too small, labels."""
    for folder in ("images", "masks"):
        (tmp_path / folder).mkdir()
    masks = {
        "whole": an_object().astype(np.uint8),
        "cut": an_object(centre=(100, 40)).astype(np.uint8),
        "small": an_object(radii=(20, 30)).astype(np.uint8),
        "two": 3 * an_object(centre=(60, 80), radii=(40, 55)) + 5 * an_object(centre=(140, 210), radii=(50, 70)),
    }
    for name, mask in masks.items():
        Image.fromarray(chelsea()[:200, :300]).save(tmp_path / "images" / f"{name}.png")
        Image.fromarray(mask.astype(np.uint8)).save(tmp_path / "masks" / f"{name}.png")
    return tmp_path


def test_objects_that_are_whole_and_large_enough_are_found(photographs):
    found = list(objects.of_folder(photographs, None))
    assert [one.source for one in found] == ["two.png", "two.png", "whole.png"]
    assert found[0].mask.sum() > found[1].mask.sum()  # the largest first
    assert (found[2].mask == an_object()).all() and len(found[2].sha256) == 64
    (five,) = objects.of_folder(photographs, 5)
    assert (five.mask == found[0].mask).all()
    labels = an_object().astype(np.uint8)
    labels[an_object(radii=(70, 100)) & (labels == 0)] = 255  # nobody has labelled its border
    soft = np.asarray(Image.fromarray(255 * an_object().astype(np.uint8)).resize((150, 100)).resize((300, 200)))
    soft = np.where(an_object(), np.maximum(soft, 128), np.minimum(soft, 127)).astype(np.uint8)  # edges in between
    for values in (labels, 255 * (labels == 1).astype(np.uint8), soft):
        Image.fromarray(values).save(photographs / "masks" / "whole.png")
        assert (list(objects.of_folder(photographs, None))[-1].mask == an_object()).all()


def test_photographs_are_read_upright_and_of_8_bits(photographs):
    image = Image.fromarray(chelsea()[:200, :300])
    turned = image.transpose(Image.Transpose.ROTATE_90)
    exif = Image.Exif()
    exif[0x0112] = 6  # to be turned back by 90 degrees
    turned.save(photographs / "images" / "whole.png", exif=exif)
    found = list(objects.of_folder(photographs, None))[-1]
    assert (found.image == np.asarray(image)).all()
    Image.fromarray(np.zeros((200, 300), np.uint16)).save(photographs / "images" / "cut.png")
    with pytest.raises(UserError, match="has more than 8 bits per channel"):
        list(objects.of_folder(photographs, None))


def test_folders_that_do_not_belong_together(photographs):
    (photographs / "masks" / "whole.png").unlink()
    with pytest.raises(UserError, match=r"holds no mask for whole.png: a PNG"):
        list(objects.of_folder(photographs, None))
    Image.fromarray(np.zeros((3, 4), np.uint8)).save(photographs / "masks" / "whole.png")
    with pytest.raises(UserError, match=r"whole.png has shape \(3, 4\)"):
        list(objects.of_folder(photographs, None))
    (photographs / "images" / "cut.png").write_bytes(b"no picture")
    with pytest.raises(UserError, match=r"cut.png is not an image or is damaged"):
        list(objects.of_folder(photographs, None))
    with pytest.raises(UserError, match=r"there is no folder .*masks"):
        list(objects.of_folder(photographs / "masks", None))


def test_cats_and_empty_scenes_of_pascal_context(tmp_path):
    root = pascal_context(tmp_path / "PASCALContext", sizes=((160, 200),))
    for number, name in enumerate(("test0", "test1", "test2")):
        labels = an_object((160, 200), (80, 100), (50, 60)).astype(np.uint8) * (8, 0, 12)[number]
        Image.fromarray(labels).save(root / "semseg" / "VOC12" / f"{name}.png")
    (cat,) = objects.of_pascal(root, "test", "cat")
    assert cat.source == "test0.jpg" and cat.mask.sum() == an_object((160, 200), (80, 100), (50, 60)).sum()
    assert [name for name, _ in objects.empty_scenes(root, "test")] == ["test1"]
    with pytest.raises(UserError, match="no class of pascal-context named 'cta': did you mean cat"):
        next(objects.of_pascal(root, "test", "cta"))


def test_a_crop_holds_the_whole_object_whatever_the_image():
    mask = an_object(centre=(35, 150), radii=(30, 95))
    image = np.random.default_rng(0).integers(0, 255, (200, 300, 3), dtype=np.uint8)
    part = compose.crop(image, mask, 64)
    assert part.picture.shape == (64, 64, 3) and part.where[0] < 0 < part.where[1]
    assert part.mask.mean() * part.where[2] ** 2 == pytest.approx(mask.sum(), rel=0.05)
    assert not (part.mask[0].any() or part.mask[-1].any() or part.mask[:, 0].any() or part.mask[:, -1].any())


def test_what_is_pasted_differs_where_the_mask_says():
    rng = np.random.default_rng(0)
    background = rng.integers(0, 255, (96, 96, 3), dtype=np.uint8)
    outline = an_object((64, 64), (32, 32), (20, 28))
    red, blue = (np.full((64, 64, 3), colour, np.uint8) for colour in ((255, 0, 0), (0, 0, 255)))
    spots = (compose.Spot(0.5, 0.3, 0.4), compose.Spot(0.3, 0.5, 0.4))
    made = compose.compose(background, [(red, blue, outline), (blue, red, outline)], spots)
    assert (made.before[made.mask == 0] == background[made.mask == 0]).all()
    assert (made.after[made.mask == 0] == background[made.mask == 0]).all()
    assert (made.before != made.after).any(-1)[made.mask > 0].mean() > 0.99  # where both blend half and half
    for number, (colour, spot) in enumerate(zip(((255, 0, 0), (0, 0, 255)), spots, strict=True), start=1):
        top, left, height, width = made.boxes[number - 1]
        inside = made.before[made.mask == number]
        assert (inside == colour).all(-1).mean() > 0.7  # all but the rim, which is blended
        if number == 2:  # the first lies below it
            assert max(height, width) == pytest.approx(spot.side * 96, abs=2)
            assert left + width / 2 == pytest.approx(spot.x * 96, abs=1.5)
            assert top + height / 2 == pytest.approx(spot.y * 96, abs=1.5)
    with pytest.raises(ValueError, match="object 1 is hidden"):
        compose.compose(
            background, [(red, blue, outline)] * 2, (compose.Spot(0.2, 0.5, 0.5), compose.Spot(0.6, 0.5, 0.5))
        )


def test_a_place_is_read_or_refused():
    assert compose.spot("0.5@0.3,0.7") == compose.Spot(0.5, 0.3, 0.7)
    for text, said in {
        "half@0,0": "is not SIDE@X,Y",
        "0.5": "is not",
        "0.5@0.1,0.5": "leaves",
        "nan@0.5,0.5": "leaves",
    }.items():
        with pytest.raises(UserError, match=said):
            compose.spot(text)


def disc(radius):
    """A bright disc on a dark ground, noisy: uint8 (96, 96, 3)."""
    noise = np.random.default_rng(0).integers(0, 40, (96, 96, 3))
    return (noise + 200 * an_object((96, 96), (48, 48), (radius, radius))[..., None]).astype(np.uint8)


def test_gates_let_counterfactuals_through_and_nothing_else(rendered):
    folder, made = rendered
    pictures = manifest.pictures(folder, made)
    row = int((pictures.masks > 0).sum((1, 2)).argmax())
    before, after, mask = pictures.before[row], pictures.after[row], pictures.masks[row] > 0
    assert gates.failures(gates.measure(before, after, mask, class_share=0.9)) == ()
    others = {
        "hardly changed": gates.measure(before, before, mask),
        "around it changed": gates.measure(before, np.where(mask[..., None], after, 255 - after), mask),
        "shape was not kept": gates.measure(disc(30), disc(14), disc(30)[..., 0] > 128),
        "does not see": gates.measure(before, after, mask, class_share=0.2),
        "has blackened": gates.measure(before, 0 * after, mask, flagged=True),
    }
    for said, measured in others.items():
        assert said in "; ".join(gates.failures(measured))
    nearly = np.ones((256, 256), bool)
    nearly[0, 0] = False
    for full, shown in ((np.ones_like(mask), before), (nearly, np.zeros((256, 256, 3), np.uint8))):
        with pytest.raises(ValueError, match="not all or nothing"):
            gates.measure(shown, shown, full)
