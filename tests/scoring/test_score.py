"""`sakbench score` as a user runs it: folders of files in, numbers or one sentence out."""

import json
import re
import struct
import zlib

import numpy as np
import pytest
from PIL import Image

from sakbench.cli import main
from sakbench.metrics import boundary


@pytest.fixture(autouse=True)
def own_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("SAKBENCH_CACHE", str(tmp_path / "cache"))


def save(path, array):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(array).save(path)


@pytest.fixture
def maps(tmp_path):
    """Five boundary maps and their truths, of different sizes."""
    random = np.random.default_rng(0)
    made = {}
    for number in range(5):
        shape = (24 + number, 30 - number)
        truth = random.random(shape) < 0.15
        noisy = np.where(truth, 200, 0) + random.integers(0, 55, shape)
        made[f"img_{number}"] = noisy.astype(np.uint8), truth
        save(tmp_path / "p" / f"img_{number}.png", made[f"img_{number}"][0])
        save(tmp_path / "t" / f"img_{number}.png", (255 * truth).astype(np.uint8))
    return made


def score(capsys, tmp_path, *arguments, task="boundary"):
    """Exit code, standard output and standard error of a call on the folders p and t."""
    folders = ["--predictions", str(tmp_path / "p"), "--truth", str(tmp_path / "t")]
    with pytest.raises(SystemExit) as end:
        main(["score", task, *folders, *arguments])
    return end.value.code, *capsys.readouterr()


def numbers(capsys, tmp_path, *arguments, task="boundary"):
    code, out, _ = score(capsys, tmp_path, "--json", *arguments, task=task)
    assert code == 0
    return json.loads(out)


@pytest.mark.parametrize(
    ("protocol", "radius", "strict"), [("paper", 4, False), ("invpt", 1, True), ("plain", 0, False)]
)
def test_boundary_equals_the_functions(capsys, tmp_path, maps, protocol, radius, strict):
    counts = [
        np.stack(
            boundary.counts(
                boundary.nms(prediction, radius) if radius else prediction, truth[None], 0.03, strict=strict
            ),
            axis=-1,
        )
        for prediction, truth in maps.values()
    ]
    found = numbers(capsys, tmp_path, "--max-dist", "0.03", "--protocol", protocol)
    assert {name: found[name] for name in boundary.Summary._fields} == boundary.summarize(counts)._asdict()
    assert found["images"] == 5
    assert ("no NMS" if radius == 0 else f"NMS r {radius}") in found["protocol"]


def test_workers_change_nothing_and_what_is_known_is_not_counted_again(capsys, tmp_path, maps, monkeypatch):
    first = numbers(capsys, tmp_path, "--mode", "seism", "--jobs", "3")
    monkeypatch.setattr(boundary, "counts", None)
    assert numbers(capsys, tmp_path, "--mode", "seism", "--jobs", "1") == first


def test_workers_change_nothing_from_scratch(capsys, tmp_path, maps, monkeypatch):
    found = []
    for jobs in ("1", "3"):
        monkeypatch.setenv("SAKBENCH_CACHE", str(tmp_path / f"cache-{jobs}"))
        found.append(numbers(capsys, tmp_path, "--mode", "seism", "--protocol", "plain", "--jobs", jobs))
    assert found[0] == found[1]


def test_a_table_with_its_protocol_and_a_plot(capsys, tmp_path, maps):
    save(tmp_path / "p" / "extra.png", np.zeros((4, 4), np.uint8))
    code, out, _ = score(capsys, tmp_path, "--plot", str(tmp_path / "curve.png"))
    assert code == 0
    assert "odsF %" in out and "exact matching, max_dist 0.0075, NMS r 4, >=" in out
    assert "1 prediction has no truth of that name" in out
    assert Image.open(tmp_path / "curve.png").width > 300


def test_a_folder_of_annotators_and_a_label_map(capsys, tmp_path, maps):
    prediction, truth = maps["img_0"]
    other = np.roll(truth, 3)
    (tmp_path / "t" / "img_0.png").unlink()
    for number, annotator in enumerate((truth, other)):
        save(tmp_path / "t" / "img_0" / f"{number}.png", (255 * annotator).astype(np.uint8))
    both = boundary.counts(boundary.nms(prediction), np.stack([truth, other]), 0.02)
    for number in range(1, 5):
        (tmp_path / "t" / f"img_{number}.png").unlink()
    found = numbers(capsys, tmp_path, "--max-dist", "0.02")
    assert found["ods"] == boundary.summarize(np.stack(both, axis=-1)[None]).ods

    labels = (np.arange(24 * 30).reshape(24, 30) // 200).astype(np.uint8)
    for number in range(2):
        save(tmp_path / "t" / "img_0" / f"{number}.png", labels)
    edges = boundary.counts(boundary.nms(prediction), np.stack([boundary.label_edges(labels)] * 2), 0.02)
    found = numbers(capsys, tmp_path, "--max-dist", "0.02", "--truth-as", "labels")
    assert found["ods"] == boundary.summarize(np.stack(edges, axis=-1)[None]).ods


def four_bits():
    """A grey PNG of 30 x 24 pixels with 4 bits each, all zero."""

    def chunk(kind, content):
        return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))

    head = struct.pack(">IIBBBBB", 30, 24, 4, 0, 0, 0, 0)
    rows = zlib.compress(bytes(16) * 24)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", rows) + chunk(b"IEND", b"")


def break_png(tmp_path):
    whole = (tmp_path / "p" / "img_2.png").read_bytes()
    (tmp_path / "p" / "img_2.png").write_bytes(whole[: len(whole) // 2])


SPOILERS = {
    "img_2.png cannot be read .* other 4 images are scored and kept": break_png,
    "img_3.png cannot be read": lambda path: (path / "p" / "img_3.png").write_bytes(b"not a picture"),
    "truth .*img_1.png has no prediction": lambda path: (path / "p" / "img_1.png").unlink(),
    r"img_0.png has 4x9 pixels .* 24x30": lambda path: save(path / "p" / "img_0.png", np.zeros((4, 9), np.uint8)),
    "mode RGB: one channel of 8 bits": lambda path: save(path / "p" / "img_0.png", np.zeros((24, 30, 3), np.uint8)),
    "mode I;16: one channel": lambda path: save(path / "p" / "img_0.png", np.zeros((24, 30), np.uint16)),
    "holds the values 0, 1, 2, 3, .* --truth-as labels": lambda path: save(
        path / "t" / "img_0.png", np.arange(720).reshape(24, 30).astype(np.uint8)
    ),
    "holds the values 0, 15;": lambda path: save(path / "t" / "img_0.png", np.eye(24, 30, dtype=np.uint8) * 15),
    "holds both img_0.png and img_0: which": lambda path: save(
        path / "t" / "img_0" / "a.png", np.eye(24, 30, dtype=np.uint8)
    ),
    "img_9.png cannot be read": lambda path: [
        (path / folder / "img_9.png").symlink_to(path / "nowhere") for folder in ("p", "t")
    ],
    "img_0.png has 4 bits per pixel": lambda path: (path / "p" / "img_0.png").write_bytes(four_bits()),
    "predictions folder .* cannot be read": lambda path: (path / "p").rename(path / "elsewhere"),
    "truth folder .* cannot be read": lambda path: (path / "t").rename(path / "elsewhere"),
    "holds no .png file": lambda path: [file.unlink() for file in (path / "t").iterdir()],
    "cache .* cannot be used": lambda path: (path / "cache").write_text("a file where a folder should be"),
}


@pytest.mark.parametrize("sentence", SPOILERS)
def test_what_is_wrong_is_told_in_a_sentence(capsys, tmp_path, maps, sentence):
    SPOILERS[sentence](tmp_path)
    code, out, error = score(capsys, tmp_path)
    assert code == 2 and not out
    assert error.count("\n") == 1
    assert re.search(sentence, error), error


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["--mode", "exat"], "did you mean exact?"),
        (["--protocol", "invp"], "did you mean invpt?"),
        (["--truth-as", "label"], "did you mean labels?"),
        (["--max-dist", "-1"], "share of the image's diagonal"),
        (["--max-dist", "100"], "share of the image's diagonal"),
        (["--seed", "-3"], "not a whole number from 0"),
        (["--plot", "curve"], "needs an ending"),
        (["--plot", "/nowhere/at/all.png"], "cannot be written"),
    ],
)
def test_wrong_options_are_told(capsys, tmp_path, maps, arguments, sentence):
    code, _, error = score(capsys, tmp_path, *arguments)
    assert code == 2 and sentence in error


def test_the_images_before_a_broken_one_are_kept(capsys, tmp_path, maps, monkeypatch):
    whole = (tmp_path / "p" / "img_2.png").read_bytes()
    break_png(tmp_path)
    assert score(capsys, tmp_path)[0] == 2
    (tmp_path / "p" / "img_2.png").write_bytes(whole)
    counted = []
    real = boundary.counts
    monkeypatch.setattr(boundary, "counts", lambda *a, **k: counted.append(1) or real(*a, **k))
    numbers(capsys, tmp_path)
    assert len(counted) == 1


def test_another_seed_of_seism_and_another_name_only_matter_to_seism(capsys, tmp_path, maps, monkeypatch):
    exact = numbers(capsys, tmp_path, "--max-dist", "0.05", "--protocol", "plain")
    (tmp_path / "p" / "img_0.png").rename(tmp_path / "p" / "other.png")
    (tmp_path / "t" / "img_0.png").rename(tmp_path / "t" / "other.png")
    seism = [
        numbers(capsys, tmp_path, "--max-dist", "0.05", "--protocol", "plain", "--mode", "seism", "--seed", str(seed))
        for seed in range(4)
    ]
    assert len({found["ods"] for found in seism}) > 1
    monkeypatch.setattr(boundary, "counts", None)  # known under whatever name
    again = numbers(capsys, tmp_path, "--max-dist", "0.05", "--protocol", "plain", "--seed", "7")
    assert again["ods"] == exact["ods"]


def test_ctrl_c_keeps_what_was_scored(capsys, tmp_path, maps, monkeypatch):
    real, counted = boundary.counts, []

    def interrupted(*arguments, **options):
        if len(counted) == 2:
            raise KeyboardInterrupt
        counted.append(1)
        return real(*arguments, **options)

    monkeypatch.setattr(boundary, "counts", interrupted)
    code, out, _ = score(capsys, tmp_path, "--jobs", "1")
    assert code == 130 and "the same command goes on" in out
    counted.clear()
    monkeypatch.setattr(boundary, "counts", lambda *a, **k: counted.append(1) or real(*a, **k))
    assert numbers(capsys, tmp_path)["images"] == 5
    assert len(counted) == 3


def test_the_counts_of_this_version(capsys, tmp_path, maps):
    """What is in people's caches: where these numbers change, `_VERSION` in sakbench/scoring/boundary.py goes up."""
    found = numbers(capsys, tmp_path, "--max-dist", "0.05")
    assert [round(found[name], 6) for name in ("ods", "ois", "ap")] == [0.793514, 0.793514, 0.685236]


DENSE = {
    # labels 0 and 1 right once each, one 1 taken for 0, one pixel ignored: (1/2 + 1/2) / 2
    "semseg": (np.array([[0, 0, 1, 1]], np.uint8), np.array([[0, 1, 1, 255]], np.uint8), ["--classes", "2"], 50.0),
    "parsing": (np.array([[0, 0, 1, 1]], np.uint8), np.array([[0, 1, 1, 255]], np.uint8), [], 100 / 7),
    # at 0.8 both salient pixels and one other: P 2/3, R 1; above .85 one of two and no other: P 1, R 1/2
    "saliency": (np.array([[255, 210, 210]], np.uint8), np.array([[255, 130, 127]], np.uint8), [], 100 * 1.3 / 1.6),
    "normals": (
        np.array([[[255, 127, 127], [127, 255, 127]]], np.uint8),
        np.array([[[127, 255, 127], [0, 0, 0]]], np.uint8),
        [],
        90.0,
    ),
    "depth": (np.array([[2000, 9000, 1000]], np.uint16), np.array([[1000, 0, 4000]], np.uint16), [], 5**0.5),
}


@pytest.mark.parametrize("task", DENSE)
def test_dense_tasks_by_hand(capsys, tmp_path, task):
    prediction, truth, options, value = DENSE[task]
    save(tmp_path / "p" / "a.png", prediction)
    save(tmp_path / "t" / "a.png", truth)
    found = numbers(capsys, tmp_path, *options, task=task)
    # 127 is not quite a zero
    assert found["value"] == pytest.approx(value, abs=0.6 if task == "normals" else 1e-5) and found["images"] == 1
    code, out, _ = score(capsys, tmp_path, *options, task=task)
    assert code == 0 and task in out and found["metric"] in out


def test_arrays_of_normals_and_depth(capsys, tmp_path):
    for folder, normal in (("p", [0.0, 0, 2]), ("t", [0.0, 1, 0])):
        (tmp_path / folder).mkdir()
        np.save(tmp_path / folder / "a.npy", np.tile(normal, (4, 5, 1)))
    assert numbers(capsys, tmp_path, task="normals")["value"] == pytest.approx(90)
    for folder, depth in (("p", 3.0), ("t", 1.0)):
        np.save(tmp_path / folder / "a.npy", np.full((4, 5), depth))
    assert numbers(capsys, tmp_path, task="depth")["value"] == pytest.approx(2)
    np.save(tmp_path / "p" / "a.npy", np.full((4, 6), depth))
    code, _, error = score(capsys, tmp_path, task="depth")
    assert code == 2 and "(4, 6)" in error and "(4, 5)" in error
    np.save(tmp_path / "p" / "a.npy", np.full((4, 5), 1))
    code, _, error = score(capsys, tmp_path, task="depth")
    assert code == 2 and "floats of shape (h, w) are due" in error


def test_what_is_no_normal(capsys, tmp_path):
    up = np.array([127, 127, 255], np.uint8)
    for folder, first in (("p", up), ("t", up)):
        rows = np.stack([np.stack([first, up]), np.stack([up, up])])
        if folder == "t":
            rows[0, 1], rows[1, 0] = 0, 127  # black, and a zero vector as (n + 1) * 127.5 writes it
        save(tmp_path / folder / "a.png", rows)
    assert numbers(capsys, tmp_path, task="normals")["value"] == pytest.approx(0, abs=1e-3)
    save(tmp_path / "p" / "a.png", np.zeros((2, 2, 3), np.uint8))  # nothing predicted is no direction either
    assert numbers(capsys, tmp_path, task="normals")["value"] == pytest.approx(90)


def test_ignored_saliency(capsys, tmp_path):
    save(tmp_path / "p" / "a.png", np.array([[0, 200, 255]], np.uint8))
    save(tmp_path / "t" / "a.png", np.array([[0, 1, 255]], np.uint8))
    assert numbers(capsys, tmp_path, "--truth-as", "labels", task="saliency")["value"] == 100
    code, _, error = score(capsys, tmp_path, task="saliency")
    assert code == 2 and "say --truth-as labels" in error


@pytest.mark.parametrize("unit", ["0", "-1", "nan", "inf"])
def test_a_unit_that_is_none_is_told(capsys, tmp_path, unit):
    code, _, error = score(capsys, tmp_path, "--depth-unit", unit, task="depth")
    assert code == 2 and "a depth unit is a length in metres" in error


@pytest.mark.parametrize("content", [b"", b"\x93NUMPY\x01\x00", b"PK\x03\x04", b"\x93NUMPY\x01\x00\x05\x00{(,}\n"])
def test_a_broken_array_is_told(capsys, tmp_path, content):
    for folder in ("p", "t"):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "a.npy").write_bytes(content)
    code, _, error = score(capsys, tmp_path, task="depth")
    assert code == 2 and "cannot be read" in error and error.count("\n") == 1


def test_a_label_that_is_no_class_is_told(capsys, tmp_path):
    save(tmp_path / "p" / "a.png", np.full((3, 3), 9, np.uint8))
    save(tmp_path / "t" / "a.png", np.zeros((3, 3), np.uint8))
    code, _, error = score(capsys, tmp_path, "--classes", "3", task="semseg")
    assert code == 2 and "prediction is not a class 0..2" in error and "a.png" in error
