import json
from io import StringIO
from pathlib import Path

import pytest
from rich.console import Console

from sakbench import backbones
from sakbench.report import zoo

CACHED = "vit_base_patch14_dinov2.lvd142m"


@pytest.fixture
def hub(tmp_path, monkeypatch) -> Path:
    """A Hugging Face cache that holds one backbone's weights, in the hub's own layout."""
    folder = tmp_path / f"models--timm--{CACHED}"
    snapshot = folder / "snapshots" / "0123"
    snapshot.mkdir(parents=True)
    (folder / "refs").mkdir()
    (folder / "refs" / "main").write_text("0123")
    (snapshot / "model.safetensors").write_bytes(b"")
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    return tmp_path


def test_json_has_every_backbone_and_where_its_weights_are(hub, capsys):
    zoo.zoo(as_json=True)
    models = {model["name"]: model for model in json.loads(capsys.readouterr().out)}
    assert tuple(models) == backbones.names()
    assert models[CACHED]["weights"] == "in the cache"
    assert models["vit_large_patch14_dinov2.lvd142m"]["weights"] == "not here"
    assert models["mini_vit_b.clip"]["weights"] == "shipped"
    assert models["mini_samvit_b.random"]["weights"] == "random"
    assert models["radio_large_patch16.v2.5"]["repository"] == "nvidia/RADIO-L"
    assert models["sam2_hiera_base_plus.fb_r896_2pt1"]["strides"] == [4, 8, 16, 32]


@pytest.mark.parametrize("width", [100, 160])
def test_the_table_is_whole_at_usual_widths(hub, width):
    out = Console(width=width, record=True, file=StringIO())
    zoo.print_zoo(out, [zoo._row(name) for name in backbones.names()])
    lines = out.export_text().splitlines()
    assert max(map(len, lines)) <= width
    for name in backbones.names():
        entry = backbones.info(name)
        index = next(i for i, line in enumerate(lines) if line.startswith(f"{name} "))
        assert f"{entry.parameters / 1e6:.2f} " in lines[index]
        assert entry.objective in lines[index + 1]
        assert entry.licence in lines[index + 1]
    notes = {backbones.info(name).note for name in backbones.names()} - {""}
    text = " ".join(" ".join(lines).split())
    assert all(note in text for note in notes)
