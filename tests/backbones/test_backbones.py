import hashlib
import json
import subprocess
import sys
from pathlib import Path

import pytest
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
    assert (encoder.dim, encoder.depth, encoder.patch_size) == (entry.dim, entry.depth, entry.patch_size)
    assert encoder.vit.blocks[0].attn.num_heads == entry.heads
    assert encoder.image_size == (entry.image_size, entry.image_size)
    assert [level / encoder.depth for level in encoder.levels] == [0.25, 0.5, 0.75, 1]
    prefixes = {key.split(".")[0] for key, _ in encoder.vit.named_parameters()}
    assert not prefixes & {"norm", "fc_norm", "neck", "head", "attn_pool"}
    if entry.weights == "timm":
        assert encoder.vit.pretrained_cfg["license"] == entry.licence


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


def test_any_plain_transformer_of_timm_is_a_backbone():
    name = "timm/deit3_small_patch16_224.fb_in1k"
    encoder = backbones.create(name, image_size=(32, 64), pretrained=False).eval()
    assert [tuple(level.shape) for level in encoder(torch.randn(1, 3, 32, 64))] == [(1, 384, 2, 4)] * 4
    assert backbones.info(name).dim == 384
    assert backbones.weights_digest(name) == "deit3_small_patch16_224.fb_in1k"


@pytest.mark.parametrize(
    ("name", "hint"),
    [
        ("mini_vit_b.dino", "did you mean mini_vit_b.dinov2?"),
        ("vit_base_patch16_384", "did you mean vit_base_patch16_384.augreg_in21k_ft_in1k?"),
        ("timm/deit3_small_patch16_224.fb_in2k", "did you mean deit3_small_patch16_224.fb_in1k?"),
        ("timm/resnet50.a1_in1k", "not a plain transformer"),
    ],
)
def test_a_wrong_name_is_answered_with_a_hint(name, hint):
    with pytest.raises(UserError) as error:
        backbones.create(name, pretrained=False)
    assert hint in str(error.value)


def test_weights_out_of_reach_are_named(monkeypatch):
    def unreachable(*args, **kwargs):
        raise OSError("no route to the hub")

    monkeypatch.setattr("timm.create_model", unreachable)
    with pytest.raises(UserError, match=r"timm/vit_base_patch14_dinov2\.lvd142m .* Hugging Face cache"):
        backbones.create("vit_base_patch14_dinov2.lvd142m")


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
