"""Weights from files: what timm would load is loaded, what does not fit is refused in one sentence."""

import argparse
import hashlib
from pathlib import Path

import numpy as np
import pytest
import timm
import torch
from safetensors.torch import save_file
from timm.models import load_checkpoint
from timm.models.vision_transformer import VisionTransformer, checkpoint_filter_fn

from sakbench import backbones
from sakbench.errors import UserError

TINY = "timm/vit_tiny_patch16_224"


@pytest.fixture(scope="module")
def tiny() -> VisionTransformer:
    """timm's model with norm and classifier."""
    torch.manual_seed(0)
    return timm.create_model("vit_tiny_patch16_224")


def write(state: object, path: Path) -> Path:
    if path.suffix == ".safetensors":
        save_file({key: value.contiguous() for key, value in state.items()}, path)
    else:
        torch.save(state, path)
    return path


def same(encoder, reference) -> bool:
    state = reference.state_dict()
    return all(torch.equal(value, state[key]) for key, value in encoder.vit.state_dict().items())


@pytest.mark.parametrize("suffix", [".safetensors", ".pth"])
def test_a_file_of_timm_is_loaded_as_timm_loads_it_at_another_size(tiny, tmp_path, suffix):
    path = write(tiny.state_dict(), tmp_path / f"tiny{suffix}")
    encoder = backbones.create(TINY, image_size=(64, 96), weights=path)
    reference = timm.create_model("vit_tiny_patch16_224", img_size=(64, 96))
    load_checkpoint(reference, str(path), filter_fn=checkpoint_filter_fn)
    assert same(encoder, reference)
    assert "state_dict" not in encoder.vit.pretrained_cfg
    assert backbones.weights_digest(TINY, path) == hashlib.sha256(path.read_bytes()).hexdigest()[:12]


@pytest.mark.parametrize(
    "wrap",
    [
        lambda state: {"model": state, "epoch": 3, "args": argparse.Namespace(lr=0.1)},
        lambda state: {"state_dict": {f"module.{key}": value for key, value in state.items()}},
        lambda state: {  # DINO's training checkpoints
            "student": {"backbone.cls_token": torch.zeros(1)},
            "teacher": {f"backbone.{key}": v for key, v in state.items()} | {"dino_head.last.weight": torch.zeros(2)},
        },
        lambda state: state | {"decoder_blocks.0.norm1.weight": torch.zeros(4), "mask_token": torch.zeros(1, 192)},
    ],
    ids=["model", "module", "teacher", "beside"],
)
def test_wrappers_and_what_lies_beside_the_encoder_do_not_matter(tiny, tmp_path, wrap):
    path = write(wrap(dict(tiny.state_dict())), tmp_path / "checkpoint.pth")
    assert same(backbones.create(TINY, weights=path), tiny)


def test_encoders_come_back_from_their_own_state(tmp_path):
    for name, size in {
        "timm/convnext_atto": 64,
        "timm/eva02_tiny_patch14_224": 56,
        "mini_vit_s.supervised": None,
        "theia_small_patch16_224.cdiv": None,
    }.items():
        encoder = backbones.create(name, image_size=size, pretrained=False)
        path = write(encoder.state_dict(), tmp_path / "own.safetensors")
        assert same(backbones.create(name, image_size=size, weights=path), encoder.vit)


def test_random_stays_random(tiny, tmp_path):
    path = write(tiny.state_dict(), tmp_path / "tiny.safetensors")
    assert not same(backbones.create(TINY, weights=path, pretrained=False), tiny)


def test_original_numpy_archives_go_through_timm(tiny, tmp_path):
    width, heads = 192, 3
    archive = {
        "embedding/kernel": tiny.patch_embed.proj.weight.permute(2, 3, 1, 0),
        "embedding/bias": tiny.patch_embed.proj.bias,
        "cls": tiny.cls_token,
        "Transformer/posembed_input/pos_embedding": tiny.pos_embed,
        "Transformer/encoder_norm/scale": tiny.norm.weight,
        "Transformer/encoder_norm/bias": tiny.norm.bias,
    }
    for index, block in enumerate(tiny.blocks):
        at, attention = f"Transformer/encoderblock_{index}/", "MultiHeadDotProductAttention_1/"
        for name, norm in (("LayerNorm_0", block.norm1), ("LayerNorm_2", block.norm2)):
            archive |= {f"{at}{name}/scale": norm.weight, f"{at}{name}/bias": norm.bias}
        for name, weight, bias in zip(
            ("query", "key", "value"), block.attn.qkv.weight.chunk(3), block.attn.qkv.bias.chunk(3), strict=True
        ):
            archive[f"{at}{attention}{name}/kernel"] = weight.T.reshape(width, heads, -1)
            archive[f"{at}{attention}{name}/bias"] = bias.reshape(heads, -1)
        archive[f"{at}{attention}out/kernel"] = block.attn.proj.weight.T.reshape(heads, -1, width)
        archive[f"{at}{attention}out/bias"] = block.attn.proj.bias
        for name, linear in (("Dense_0", block.mlp.fc1), ("Dense_1", block.mlp.fc2)):
            archive |= {f"{at}MlpBlock_3/{name}/kernel": linear.weight.T, f"{at}MlpBlock_3/{name}/bias": linear.bias}
    path = tmp_path / "tiny.npz"
    np.savez(path, **{key: value.detach().numpy() for key, value in archive.items()})
    assert same(backbones.create(TINY, weights=path), tiny)
    path.write_bytes(b"PK nothing")
    with pytest.raises(UserError, match=r"tiny\.npz does not fit"):
        backbones.create(TINY, weights=path)


class Thing:
    """Not a tensor."""


def _without(key):
    return lambda state: {k: v for k, v in state.items() if k != key}


@pytest.mark.parametrize(
    ("name", "change", "told"),
    [
        (TINY, _without("blocks.3.norm1.bias"), r"architecture: blocks\.3\.norm1\.bias missing\."),
        (
            TINY,
            lambda s: s | {"blocks.12.norm1.bias": torch.zeros(192)},
            r"blocks\.12\.norm1\.bias without counterpart",
        ),
        (TINY, lambda s: s | {"blocks.0.norm1.bias": torch.zeros(7)}, r"norm1\.bias is \(7\) instead of \(192\)"),
        ("timm/vit_small_patch16_224", dict, r"cls_token is .*192.* instead of .*384"),
        ("timm/convnext_atto", dict, r"stem\.0\.weight and \d+ more missing; .* without counterpart"),
        ("mini_vit_s.supervised", dict, r"is \(192,\) instead of \(96,\); .* without counterpart"),
        ("radio_base_patch16.v2.5", dict, r"no checkpoint of RADIO"),
        ("theia_base_patch16_224.cdiv", dict, r"no checkpoint of Theia"),
    ],
)
def test_a_file_that_does_not_fit_names_the_first_weights_that_differ(tiny, tmp_path, name, change, told):
    path = write(change(dict(tiny.state_dict())), tmp_path / "tiny.safetensors")
    with pytest.raises(UserError, match=rf"tiny\.safetensors.*{told}") as error:
        backbones.create(name, weights=path)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("name", [TINY, "mini_vit_s.supervised", "theia_small_patch16_224.cdiv"])
@pytest.mark.parametrize(
    ("file", "content", "told"),
    [
        ("none.safetensors", None, "there is no file"),
        ("weights.h5", b"", "they end in .safetensors"),
        ("cut.safetensors", b"\x10\0\0\0\0\0\0\0{", "cannot be read"),
        ("cut.pth", b"PK\x03\x04", "cannot be read"),
        ("text.pth", b"hello", "damaged"),
        ("empty.pth", b"", "cannot be read"),
        ("code.pth", {"model": Thing()}, "not unpickled"),
        ("plain.pth", {"epoch": 3}, "holds no weights by name"),
        ("list.pth", [torch.zeros(2)], "holds no weights by name"),
    ],
)
def test_a_file_that_holds_no_weights_is_refused_in_a_sentence(tmp_path, name, file, content, told):
    path = tmp_path / file
    if isinstance(content, bytes):
        path.write_bytes(content)
    elif content is not None:
        torch.save(content, path)
    with pytest.raises(UserError, match=told) as error:
        backbones.create(name, weights=path)
    assert str(path) in str(error.value)
    assert "\n" not in str(error.value)


def test_the_digest_of_no_file_is_an_error(tmp_path):
    with pytest.raises(UserError, match="cannot be read"):
        backbones.weights_digest(TINY, tmp_path)
