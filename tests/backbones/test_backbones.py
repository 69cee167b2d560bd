import hashlib
import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import timm
import torch
from safetensors.torch import save

from sakbench import backbones
from sakbench.backbones import cards
from sakbench.backbones.encoder import Encoder, resize_position_embedding
from sakbench.errors import UserError

MINI = ("mini_vit_s.supervised", "mini_vit_b.dinov2", "mini_vit_b.clip", "mini_samvit_b.sam", "mini_samvit_b.random")
NAME = "mini_vit_s.supervised"


@pytest.fixture
def shipped(tmp_path, monkeypatch) -> Encoder:
    """An encoder whose weights lie, with their card, where the package looks for them."""
    monkeypatch.setattr(cards, "WEIGHTS", tmp_path)
    encoder = backbones.create(NAME, pretrained=False)
    ship(encoder, tmp_path)
    return encoder


def ship(encoder: Encoder, folder: Path) -> None:
    content = save(encoder.vit.state_dict())
    (folder / f"{NAME}.safetensors").write_bytes(content)
    card = {"sha256": hashlib.sha256(content).hexdigest(), "steps": 7}
    (folder / f"{NAME}.json").write_text(json.dumps(card))


def test_looking_up_names_and_digests_imports_no_torch():
    code = (
        "import sys; from sakbench import backbones;"
        "backbones.names(); backbones.info('mini_vit_b.clip'); backbones.weights_digest('mini_samvit_b.random');"
        "sys.exit('torch' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


@pytest.mark.parametrize("name", backbones.names())
def test_the_table_tells_the_truth(name):
    entry = backbones.info(name)
    with torch.device("meta"):
        encoder = backbones.create(name, pretrained=False)
    assert (encoder.dims, encoder.depth, encoder.strides) == (entry.dims, entry.depth, entry.strides)
    assert encoder.prefix_tokens == entry.prefix_tokens
    assert encoder.image_size == (entry.image_size, entry.image_size)
    assert sum(parameter.numel() for parameter in encoder.parameters()) == entry.parameters
    if entry.heads:
        assert encoder.vit.blocks[0].attn.num_heads == entry.heads
        assert encoder.levels == tuple(level * encoder.depth // 4 for level in (1, 2, 3, 4))
    prefixes = {key.split(".")[0] for key, _ in encoder.vit.named_parameters()}
    assert not prefixes & {"norm", "fc_norm", "neck", "head", "attn_pool"}
    if entry.weights == "timm":
        assert encoder.vit.pretrained_cfg["license"] == entry.licence
        assert entry.repository == encoder.vit.pretrained_cfg["hf_hub_id"]


# Millions of parameters as the paper's Table 21 counts them: teachers at their native sizes, RADIO with all positions.
@pytest.mark.parametrize(
    ("name", "millions"),
    [
        ("vit_huge_patch14_clip_378.dfn5b", 631),
        ("vit_so400m_patch14_siglip_384.webli", 413),
        ("samvit_huge_patch16.sa1b", 636),
        ("radio_large_patch16.v2.5", 320),
        ("vit_large_patch14_dinov2.lvd142m", 304),
        ("samvit_large_patch16.sa1b", 307),
    ],
)
def test_parameters_are_the_papers(name, millions):
    assert round(backbones.info(name).parameters / 1e6) == millions


@pytest.mark.parametrize("name", MINI)
def test_levels_are_raw_block_outputs_without_the_class_token(name):
    encoder = backbones.create(name, pretrained=False).eval()
    vit, side = encoder.vit, encoder.grid[0]
    images = torch.randn(2, 3, *encoder.image_size)
    tokens = vit.patch_embed(images)
    tokens = torch.cat((vit.cls_token.expand(2, -1, -1), tokens), dim=1) + vit.pos_embed
    expected = []
    for index, block in enumerate(vit.blocks, start=1):
        tokens = block(tokens)
        if index % (len(vit.blocks) // 4) == 0:
            expected.append(tokens[:, 1:].reshape(2, side, side, -1).permute(0, 3, 1, 2))
    levels = encoder(images)
    assert len(levels) == len(expected) == 4
    for level, reference in zip(levels, expected, strict=True):
        torch.testing.assert_close(level, reference)
    torch.testing.assert_close(encoder.tokens(images)[-1], tokens)


def test_a_registered_backbone_is_the_same_under_timms_name():
    entry, other = (backbones.info(prefix + "vit_base_patch14_dinov2.lvd142m") for prefix in ("", "timm/"))
    assert other == replace(entry, name=other.name)
    assert backbones.weights_digest(other.name) == backbones.weights_digest(entry.name) == entry.name


def test_any_encoder_of_timm_is_a_backbone():
    name = "timm/deit3_small_patch16_224.fb_in1k"
    encoder = backbones.create(name, image_size=(32, 64), pretrained=False).eval()
    assert [tuple(level.shape) for level in encoder(torch.randn(1, 3, 32, 64))] == [(1, 384, 2, 4)] * 4
    entry = backbones.info(name)
    assert (entry.dim, entry.heads, entry.licence) == (384, 6, "apache-2.0")
    assert backbones.weights_digest(name) == "deit3_small_patch16_224.fb_in1k"
    assert encoder.name == name
    swin = backbones.info("timm/swin_tiny_patch4_window7_224.ms_in1k")
    assert (swin.dims, swin.strides) == ((96, 192, 384, 768), (4, 8, 16, 32))


@pytest.mark.parametrize(
    ("name", "hint"),
    [
        ("mini_vit_b.dino", "did you mean mini_vit_b.dinov2?"),
        ("vit_base_patch16_384", "did you mean vit_base_patch16_384.augreg_in21k_ft_in1k?"),
        ("timm/deit3_small_patch16_224.fb_in2k", "did you mean deit3_small_patch16_224.fb_in1k?"),
        ("timm/deit3_small_patch16_224.", "did you mean deit3_small_patch16_224.fb_in1k?"),
        ("radio_v2.5-b", "did you mean radio_base_patch16.v2.5?"),
        ("theia-base-patch16-224-cdiv", "did you mean theia_base_patch16_224.cdiv?"),
        ("timm/levit_128.fb_dist_in1k", "this one gives 3"),
        ("timm/theia_base_patch16_224.cdiv", "no pretrained timm model"),
    ],
)
def test_a_wrong_name_is_answered_with_a_hint(name, hint):
    with pytest.raises(UserError) as error:
        backbones.create(name, pretrained=False)
    assert hint in str(error.value)


@pytest.mark.parametrize("size", [0, (64, -16), 15])
def test_a_size_that_no_image_has_is_refused(size):
    with pytest.raises(UserError, match=r"pixel"):
        backbones.create("timm/vit_tiny_patch16_224", image_size=size, pretrained=False)


def test_a_name_without_a_tag_has_no_weights_to_fetch():
    with pytest.raises(UserError, match=r"vit_tiny_patch16_224\.augreg"):
        backbones.create("timm/vit_tiny_patch16_224")


def unreachable(*args, **kwargs):
    raise OSError("no route to the hub")


def test_weights_of_other_hubs_out_of_reach_say_which_file_to_get(monkeypatch):
    monkeypatch.setattr("huggingface_hub.hf_hub_download", unreachable)
    with pytest.raises(UserError, match=r"model.safetensors of huggingface.co/theaiinstitute/.* --weights"):
        backbones.create("theia_small_patch16_224.cdiv")


def test_weights_out_of_reach_are_named(monkeypatch):
    monkeypatch.setattr("timm.create_model", unreachable)
    with pytest.raises(UserError, match=r"timm/vit_base_patch14_dinov2\.lvd142m .* Hugging Face cache"):
        backbones.create("vit_base_patch14_dinov2.lvd142m")


def test_weights_of_one_size_are_refused_at_another(monkeypatch):
    vit = timm.create_model("vit_tiny_patch16_224", img_size=64)
    other = timm.create_model("vit_tiny_patch16_224", img_size=32).state_dict()
    monkeypatch.setattr("timm.create_model", lambda *args, **kwargs: vit.load_state_dict(other))
    with pytest.raises(UserError, match=r"samvit_base_patch16\.sa1b .*: pos_embed is \(1, 5, 192\) instead of \(1, 17"):
        backbones.create("samvit_base_patch16.sa1b", image_size=512)


def test_shipped_weights_come_back(shipped):
    torch.manual_seed(1)
    loaded = backbones.create(NAME)
    for key, value in shipped.state_dict().items():
        assert torch.equal(loaded.state_dict()[key], value)
    card = backbones.read_card(NAME)
    assert card["steps"] == 7
    assert backbones.weights_digest(NAME) == card["sha256"][:12]


def test_shipped_weights_fit_other_image_sizes(shipped):
    loaded = backbones.create(NAME, image_size=(48, 80))
    assert loaded.grid == (6, 10)
    expected = resize_position_embedding(shipped.vit.pos_embed, (8, 8), (6, 10), prefix=1)
    torch.testing.assert_close(loaded.vit.pos_embed, expected)
    assert torch.equal(loaded.vit.blocks[3].mlp.fc2.weight, shipped.vit.blocks[3].mlp.fc2.weight)


def _flip_a_byte(folder):
    path = folder / f"{NAME}.safetensors"
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)


@pytest.mark.parametrize(
    "damage",
    [
        _flip_a_byte,
        lambda folder: (folder / f"{NAME}.safetensors").unlink(),
        lambda folder: (folder / f"{NAME}.json").unlink(),
        lambda folder: (folder / f"{NAME}.json").write_text('{"sha256": "not hex"}'),
        lambda folder: (folder / f"{NAME}.json").write_text("[]"),
    ],
    ids=["flipped byte", "no weights", "no card", "bad checksum", "not a card"],
)
def test_damaged_weights_say_how_to_regenerate_them(shipped, tmp_path, damage):
    damage(tmp_path)
    with pytest.raises(UserError, match=rf"{NAME}.*`sakbench pretrain --output"):
        backbones.create(NAME)


def test_weights_of_another_architecture_are_refused(shipped, tmp_path):
    ship(backbones.create("mini_vit_b.clip", pretrained=False), tmp_path)
    with pytest.raises(UserError, match="another architecture"):
        backbones.create(NAME)


def test_the_random_control_is_always_the_same_and_leaves_the_generator_alone():
    torch.manual_seed(5)
    expected = torch.rand(3)
    torch.manual_seed(5)
    first = backbones.create("mini_samvit_b.random")
    assert torch.equal(torch.rand(3), expected)
    second = backbones.create("mini_samvit_b.random")
    assert all(torch.equal(a, b) for a, b in zip(first.parameters(), second.parameters(), strict=True))
    assert backbones.weights_digest("mini_samvit_b.random") == "random"


def test_resizing_a_position_embedding_keeps_the_class_row_and_constants():
    embedding = torch.cat((torch.full((1, 1, 4), 9.0), torch.arange(4.0).expand(1, 12, 4)), dim=1)
    resized = resize_position_embedding(embedding, (3, 4), (6, 5), prefix=1)
    assert resized.shape == (1, 31, 4)
    assert torch.equal(resized[:, 0], embedding[:, 0])
    torch.testing.assert_close(resized[:, 1:], torch.arange(4.0).expand(1, 30, 4))


def test_resizing_a_position_embedding_is_not_antialiased():
    # a spike off the sampled neighbourhood must not leak in: output 0 of 8 -> 2 reads positions 0 to 3 around 1.5
    grid = torch.zeros(1, 1, 8)
    grid[..., 4] = 1
    embedding = grid.transpose(1, 2)  # an 1 x 8 grid of one channel
    resized = resize_position_embedding(embedding, (1, 8), (1, 2), prefix=0)
    assert resized[0, 0, 0] == 0
