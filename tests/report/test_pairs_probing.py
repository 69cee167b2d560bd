"""`sakbench pairs probe`: from pairs to a table in the store, maps in the folder of runs, and the paper's figure."""

import json
from dataclasses import replace

import numpy as np
import pytest
import timm
import torch
from safetensors.torch import save_file

from sakbench import backbones
from sakbench.analysis.quantities import QUANTITIES
from sakbench.data.pairs import exact, manifest
from sakbench.errors import UserError
from sakbench.experiments import tables
from sakbench.report.pairs_probing import chosen, figure_of, probe
from sakbench.report.repeating import repeat
from sakbench.report.running import Request
from sakbench.runs.pairs import look, seen_by
from sakbench.runs.scales import MINI
from sakbench.store import open_store
from sakbench.training.scenes import images_tensor

MODELS = ("ViT", "SAM")


@pytest.fixture(scope="module")
def pairs(tmp_path_factory):
    """A folder of five exact pairs."""
    folder = tmp_path_factory.mktemp("five")
    exact.make(folder, count=5, name="five")
    return folder


@pytest.fixture(scope="module")
def probed(pairs, tmp_path_factory, tiny):
    """A store after a probe with heads of a few steps."""
    folder = tmp_path_factory.mktemp("probed")
    request = Request(folder / "s.db", "again", jobs=2)
    assert probe(str(pairs), tiny, request, models=MODELS, heads=True, figure=folder / "figure.png") == 0
    return folder


def numbers(folder):
    frame = open_store(folder / "s.db", write=False).frame()
    return frame.set_index(["table", "row", "task"])["value"].sort_index()


def test_a_row_for_each_model_with_every_number(probed, sakbench):
    found = numbers(probed)
    (table,) = set(found.index.get_level_values("table"))
    assert table.startswith("pairs:five-")
    for model in MODELS:
        row = found.loc[table, model]
        sizes = {f"{name} {size}" for name in ("contrast", "flips") for size in ("small", "middle", "large")}
        assert set(QUANTITIES) - sizes <= set(row.index) <= set(QUANTITIES)
        assert 0 <= row["flips kept"] <= row["flips"] <= 100 and 0 <= row["share inside"] <= 100
        assert row["change inside"] > row["change outside"] > 0
    assert (probed / "figure.png").read_bytes().startswith(b"\x89PNG")
    shown = sakbench("show", table, "--store", str(probed / "s.db"))
    assert shown.returncode == 0 and "contrast" in shown.stdout and "SAM" in shown.stdout
    run = open_store(probed / "s.db", write=False).runs().query("kind == 'pairs'")["id"].iloc[0]
    told = sakbench("show", run, "--store", str(probed / "s.db"))
    assert "maps.safetensors" in told.stdout and "pairs seen by" in told.stdout
    assert "sakbench pairs probe PAIRS --store OTHER" in told.stdout
    assert sakbench("store", "check", "--store", str(probed / "s.db")).returncode == 0
    assert sakbench("report", "--store", str(probed / "s.db")).returncode == 0
    exported = sakbench("store", "export", "all.jsonl", "--store", str(probed / "s.db"))
    assert exported.returncode == 0
    assert sakbench("show", table, "--store", "all.jsonl").stdout == shown.stdout


def test_a_second_call_looks_again_only_where_maps_are_gone(probed, pairs, tiny, capsys):
    before = numbers(probed)
    request = Request(probed / "s.db", "again", jobs=2)
    assert probe(str(pairs), tiny, request, models=MODELS, heads=True, figure=probed / "second.png") == 0
    assert "every run is in the store already" in capsys.readouterr().out
    assert (probed / "second.png").read_bytes() == (probed / "figure.png").read_bytes()
    ids = open_store(probed / "s.db", write=False).runs().query("kind == 'pairs'")["id"]
    (probed / "runs" / ids.iloc[0] / "maps.safetensors").unlink()
    assert probe(str(pairs), tiny, request, models=MODELS, heads=True, figure=probed / "third.png") == 0
    assert "1 run to do" in capsys.readouterr().out
    assert numbers(probed).equals(before)
    assert (probed / "third.png").read_bytes() == (probed / "figure.png").read_bytes()


def test_maps_that_were_altered_are_told(probed):
    ids = open_store(probed / "s.db", write=False).runs().query("kind == 'pairs'")["id"]
    file = probed / "runs" / ids.iloc[-1] / "maps.safetensors"
    content = file.read_bytes()
    file.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
    try:
        with pytest.raises(UserError, match="has changed since the run left it: delete"):
            seen_by(file.parent)
    finally:
        file.write_bytes(content)
    with pytest.raises(UserError, match="looks at the pairs and leaves it"):
        seen_by(file.parent.parent / "nothing")


def test_a_run_of_pairs_is_not_repeated_but_looked_at_again(probed):
    ids = open_store(probed / "s.db", write=False).runs().query("kind == 'pairs'")["id"]
    with pytest.raises(UserError, match="looked at pairs, which the store does not hold"):
        repeat(ids.iloc[0], Request(probed / "s.db", "again"), weights={}, output=None)


def test_norms_alone_train_nothing(pairs, sakbench, tmp_path):
    words = ["pairs", "probe", str(pairs), "--models", "SAM", "--no-segmentation", "--output", "figure.png", "--json"]
    done = sakbench(*words, "--store", "s.db")
    assert done.returncode == 0, done.stderr
    ((row,)) = json.loads(done.stdout)["rows"]
    assert row["row"] == "SAM, norms alone" and "flips" not in row["measured"] and not row["note"]
    assert (tmp_path / "figure.png").exists()
    assert [run["kind"] for run in open_store(tmp_path / "s.db", write=False).runs().to_dict("records")] == ["pairs"]


def test_figure_6_is_run_by_its_name(sakbench):
    done = sakbench("run", "figure6", "--dry-run", "--json")
    assert done.returncode == 0 and "pairs seen by sam" in done.stdout
    paper = sakbench("run", "figure6", "--dry-run", "--scale", "paper")
    assert paper.returncode == 2 and "`sakbench pairs make` makes them" in paper.stderr
    indoor = sakbench("run", "figure6", "--dry-run", "--dataset", "miniworld-nyud")
    assert indoor.returncode == 2 and "leave --dataset out" in indoor.stderr
    frozen = {row.name: row.runs[0] for row in tables.get("table12").build(MINI, 0) if row.name.endswith("Freeze")}
    for row in tables.get("figure6").build(MINI, 0):
        assert row.runs[0].start == frozen[f"{row.name} Freeze"]  # trained once for both


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("nowhere",), "nowhere holds no pairs"),
        (("PAIRS", "--models", "DINOv3"), "did you mean DINOv2?"),
        (("PAIRS", "--models", "ViT,ViT"), "ViT is named twice"),
        (("PAIRS", "--dataset", "miniworld-nyud"), "no class of miniworld-nyud"),
        (("PAIRS", "--scale", "paper"), "name the folder that holds them with --data"),
        (("PAIRS", "--no-segmentation", "--seeds", "3"), "leave --seeds out"),
        (("PAIRS", "--scale", "paper", "--dataset", "nyud-v2", "--no-segmentation"), "are square"),
        (("PAIRS", "--output", "figure.txt"), "name a file that ends in .png, .pdf, .svg"),
        (("PAIRS", "--output", "nowhere/figure.png", "--no-segmentation", "--models", "ViT"), "cannot be written"),
        (("PAIRS", "--weights", "mini_vit_b.clip=x.safetensors", "--models", "ViT"), "that these runs use"),
    ],
)
def test_bad_input_is_one_sentence(words, said, pairs, sakbench):
    done = sakbench("pairs", "probe", *(str(pairs) if word == "PAIRS" else word for word in words))
    assert done.returncode == 2 and said in done.stderr and done.stderr.count("\n") == 1


def test_pairs_that_have_changed_since_are_refused(pairs, tmp_path, tiny):
    folder = tmp_path / "photographs"
    folder.mkdir()
    for file in pairs.iterdir():
        (folder / file.name).write_bytes(file.read_bytes())
    manifest.write(folder, replace(manifest.read(folder), rendered="", name="photographs"))
    (folder / "000-after.png").write_bytes((folder / "001-after.png").read_bytes())
    request = Request(tmp_path / "s.db", "again", jobs=1)
    with pytest.raises(UserError, match=r"000-after.png has changed since the pairs were made"):
        probe(str(folder), tiny, request, models=("ViT",), heads=False, figure=None)


def test_what_a_set_says_of_itself_is_not_believed(pairs, tmp_path, tiny):
    request = Request(tmp_path / "s.db", "again", jobs=1)
    tables_of = []
    for number, after in enumerate(("after", "before")):
        folder = tmp_path / str(number) / "same"
        folder.mkdir(parents=True)
        there = manifest.read(pairs)
        for pair in there.pairs:
            for name, source in zip(pair.files, (pair.before, getattr(pair, after), pair.mask), strict=True):
                (folder / name).write_bytes((pairs / source).read_bytes())
        sums = {pair.before: pair.sha256[0] for pair in there.pairs}
        changed = (
            tuple(replace(p, sha256=(p.sha256[0], sums[p.before], p.sha256[2])) for p in there.pairs)
            if after == "before"
            else there.pairs
        )
        manifest.write(folder, replace(there, name="same", pairs=changed))
        assert probe(str(folder), tiny, request, models=("SAM",), heads=False, figure=folder / "figure.png") == 0
        tables_of = open_store(tmp_path / "s.db", write=False).frame()
    assert tables_of["table"].nunique() == 2  # of one name, and each has its own numbers
    inside = tables_of[tables_of["task"] == "change inside"].set_index("table")["value"]
    assert sorted(inside)[0] == 0 < sorted(inside)[1]


def test_a_model_that_gives_no_numbers_is_refused(pairs):
    encoder = backbones.create(MINI.vit).eval()
    with torch.no_grad():
        next(encoder.parameters()).fill_(float("nan"))
    with pytest.raises(UserError, match="gives tokens that are no finite numbers"):
        look(encoder, manifest.pictures(pairs, manifest.read(pairs)))


def test_damaged_pictures_are_told_before_anything_is_trained(pairs, tmp_path, sakbench):
    for file in pairs.iterdir():
        (tmp_path / file.name).write_bytes(file.read_bytes())
    (tmp_path / "004-mask.png").write_bytes(b"")
    done = sakbench("pairs", "probe", str(tmp_path))
    assert done.returncode == 2 and "004-mask.png has changed" in done.stderr and not done.stdout


def test_what_is_seen_is_what_the_encoder_gives(pairs):
    there = manifest.pictures(pairs, manifest.read(pairs))
    encoder = backbones.create(MINI.teachers["CLIP"]).eval()
    seen = look(encoder, there)

    class Scenes:
        images = there.before

    with torch.inference_mode():
        levels = encoder(images_tensor(Scenes(), np.arange(5), encoder.image_size[0]))
    assert seen.before == pytest.approx(levels[-1].norm(dim=1).numpy(), rel=1e-4)
    assert seen.extent == (128.0, 128.0) and seen.labels is None
    large = manifest.Pictures(
        *(np.repeat(np.repeat(one, 2, 1), 2, 2) for one in (there.before, there.after, there.masks))
    )
    assert look(encoder, large).after == pytest.approx(
        seen.after, rel=1e-4
    )  # pictures of another size, the same scenes
    figure = figure_of(manifest.read(pairs), there, {"CLIP": seen}, MINI.dataset)
    assert len(chosen(there)) <= 2 and len(figure.axes) == len(chosen(there)) * (2 * 3 + 2)


def test_the_papers_models_look_at_photographs_of_their_size(pairs, sakbench, tmp_path):
    name = "vit_small_patch14_dinov2.lvd142m"
    torch.manual_seed(0)
    save_file(timm.create_model(name, num_classes=0, img_size=512).state_dict(), tmp_path / "weights.safetensors")
    words = ["--scale", "paper", "--gpus", "0", "--no-segmentation", "--models", f"timm/{name}"]
    words += ["--weights", f"timm/{name}=weights.safetensors", "--store", "s.db", "--output", "figure.png"]
    few = tmp_path / "few"
    exact.make(few, count=2, name="few")
    done = sakbench("pairs", "probe", str(few), *words)
    assert done.returncode == 0, done.stderr
    (run,) = open_store(tmp_path / "s.db", write=False).runs()["id"]
    seen = seen_by(tmp_path / "runs" / run)
    assert seen.before.shape == (2, 36, 36) and seen.extent == (126.0, 126.0)  # 36 x 14 of 512 pixels, of 128
