"""RADIO and Theia: checkpoints in their released names against independent implementations."""

from dataclasses import replace

import pytest
import torch
import torch.nn.functional as F
from safetensors.torch import save_file
from timm.models.vision_transformer import VisionTransformer, checkpoint_filter_fn

from sakbench import backbones
from sakbench.backbones.registry import BACKBONES
from sakbench.errors import UserError

WIDTH, DEPTH, HEADS = 24, 4, 2


@pytest.fixture
def small(monkeypatch):
    """The registered models, drawn small."""
    for name in ("radio_base_patch16.v2.5", "theia_base_patch16_224.cdiv"):
        entry = replace(BACKBONES[name], dims=(WIDTH,) * 4, depth=DEPTH, heads=HEADS)
        monkeypatch.setitem(BACKBONES, name, entry)


def _shapes(prefix: str, names: dict[str, tuple[int, ...]]) -> dict[str, torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    return {prefix + name: torch.randn(*shape, generator=generator) * 0.1 for name, shape in names.items()}


def radio_checkpoint(prefix: str) -> dict[str, torch.Tensor]:
    d = WIDTH
    names = {
        "patch_generator.pos_embed": (1, 128 * 128, d),
        "patch_generator.embedder.weight": (d, 3 * 16 * 16),
        "patch_generator.cls_token.token": (8, d),
    }
    for index in range(DEPTH):
        for part, shape in {
            "attn.qkv": (3 * d, d),
            "attn.proj": (d, d),
            "mlp.fc1": (4 * d, d),
            "mlp.fc2": (d, 4 * d),
        }.items():
            names |= {f"blocks.{index}.{part}.weight": shape, f"blocks.{index}.{part}.bias": shape[:1]}
        for norm in ("norm1", "norm2"):
            names |= {f"blocks.{index}.{norm}.weight": (d,), f"blocks.{index}.{norm}.bias": (d,)}
    return _shapes(prefix, names)


def theia_checkpoint() -> dict[str, torch.Tensor]:
    d = WIDTH
    names = {
        "embeddings.cls_token": (1, 1, d),
        "embeddings.position_embeddings": (1, 197, d),
        "embeddings.patch_embeddings.projection.weight": (d, 3, 16, 16),
        "embeddings.patch_embeddings.projection.bias": (d,),
        "layernorm.weight": (d,),
        "layernorm.bias": (d,),
    }
    for index in range(DEPTH):
        at = f"encoder.layer.{index}."
        linears = {f"attention.attention.{name}": (d, d) for name in ("query", "key", "value")}
        linears |= {"attention.output.dense": (d, d), "intermediate.dense": (4 * d, d), "output.dense": (d, 4 * d)}
        for part, shape in linears.items():
            names |= {f"{at}{part}.weight": shape, f"{at}{part}.bias": shape[:1]}
        for norm in ("layernorm_before", "layernorm_after"):
            names |= {f"{at}{norm}.weight": (d,), f"{at}{norm}.bias": (d,)}
    translators = {"translator.backbone_adapter.adapter.0.weight": torch.zeros(d)}
    return _shapes("backbone.model.", names) | translators


@pytest.mark.parametrize("size", [(64, 96), (96, 64), (48, 48)])
@pytest.mark.parametrize("release", ["safetensors", "torch hub"])
def test_radio_agrees_with_timms_reading_of_its_checkpoints(small, tmp_path, size, release):
    # timm has no RADIO v2.5, but its filter for the successor reads the same names into a fixed grid.
    state = radio_checkpoint("radio_model.model.")
    vit = VisionTransformer(
        img_size=size,
        patch_size=16,
        embed_dim=WIDTH,
        depth=DEPTH,
        num_heads=HEADS,
        reg_tokens=7,
        no_embed_class=True,
        final_norm=False,
        num_classes=0,
    ).eval()
    half = {key: value.half().float() for key, value in state.items()}
    vit.load_state_dict(checkpoint_filter_fn(half, vit, interpolation="bilinear", antialias=False, align_corners=True))
    if release == "safetensors":
        path = tmp_path / "model.safetensors"
        save_file({k: v.half() for k, v in state.items()} | {"radio_model.summary_idxs": torch.arange(3)}, path)
    else:
        path = tmp_path / "radio-v2.5-b_half.pth.tar"
        inner = {"base_model." + k.removeprefix("radio_model.model."): v.half() for k, v in state.items()}
        torch.save({"state_dict": inner | {"input_conditioner.norm_mean": torch.zeros(3, 1, 1)}, "epoch": 1}, path)
    encoder = backbones.create("radio_base_patch16.v2.5", image_size=size, weights=path).eval()
    images = torch.randn(2, 3, *size)
    expected = vit.forward_intermediates(images, indices=[0, 1, 2, 3], norm=False, intermediates_only=True)
    assert encoder.prefix_tokens == 8
    for level, reference in zip(encoder(images), expected, strict=True):
        assert level.shape == (2, WIDTH, size[0] // 16, size[1] // 16)
        torch.testing.assert_close(level, reference, rtol=1e-4, atol=1e-5)
    tokens = encoder.tokens(images)[-1][:, 8:]
    torch.testing.assert_close(tokens.transpose(1, 2).unflatten(2, encoder.grid), expected[-1], rtol=1e-4, atol=1e-5)


def _theia_by_hand(state: dict[str, torch.Tensor], images: torch.Tensor) -> list[torch.Tensor]:
    """A vision transformer written from the checkpoint's names: the output of every layer."""

    def linear(x, name):
        return F.linear(x, state[f"{name}.weight"], state[f"{name}.bias"])

    def norm(x, name):
        return F.layer_norm(x, (WIDTH,), state[f"{name}.weight"], state[f"{name}.bias"], eps=1e-12)

    at = "backbone.model.embeddings."
    projection = f"{at}patch_embeddings.projection."
    x = F.conv2d(images, state[f"{projection}weight"], state[f"{projection}bias"], stride=16).flatten(2).transpose(1, 2)
    x = torch.cat((state[f"{at}cls_token"].expand(len(x), -1, -1), x), dim=1) + state[f"{at}position_embeddings"]
    outputs = []
    for index in range(DEPTH):
        layer = f"backbone.model.encoder.layer.{index}."
        y = norm(x, f"{layer}layernorm_before")
        query, key, value = (
            linear(y, f"{layer}attention.attention.{name}").unflatten(2, (HEADS, -1)).transpose(1, 2)
            for name in ("query", "key", "value")
        )
        weights = (query @ key.transpose(-1, -2) / (WIDTH / HEADS) ** 0.5).softmax(dim=-1)
        x = x + linear((weights @ value).transpose(1, 2).flatten(2), f"{layer}attention.output.dense")
        y = F.gelu(linear(norm(x, f"{layer}layernorm_after"), f"{layer}intermediate.dense"))
        x = x + linear(y, f"{layer}output.dense")
        outputs.append(x)
    return outputs


def test_theia_agrees_with_a_transformer_written_from_its_names(small, tmp_path):
    state, path = theia_checkpoint(), tmp_path / "model.safetensors"
    save_file(state, path)
    encoder = backbones.create("theia_base_patch16_224.cdiv", weights=path).eval()
    images = torch.randn(2, 3, 224, 224)
    for level, reference in zip(encoder(images), _theia_by_hand(state, images), strict=True):
        as_map = reference[:, 1:].transpose(1, 2).unflatten(2, (14, 14))
        torch.testing.assert_close(level, as_map, rtol=1e-4, atol=1e-5)
    wide = backbones.create("theia_base_patch16_224.cdiv", image_size=(64, 96), weights=path)
    assert wide.vit.pos_embed.shape == (1, 25, WIDTH)


@pytest.mark.parametrize(
    ("name", "make", "gone", "told"),
    [
        (
            "radio_base_patch16.v2.5",
            lambda: radio_checkpoint("base_model."),
            "blocks.2.attn.qkv.bias",
            "qkv.bias missing",
        ),
        (
            "radio_base_patch16.v2.5",
            lambda: radio_checkpoint("base_model."),
            "patch_generator.cls_token.token",
            "cls_token and 1 more missing",
        ),
        (
            "theia_base_patch16_224.cdiv",
            theia_checkpoint,
            "layer.1.attention.attention.key.weight",
            "is .48, 24. instead",
        ),
        ("theia_base_patch16_224.cdiv", theia_checkpoint, "layer.1.output.dense.weight", "mlp.fc2.weight missing"),
    ],
)
def test_an_incomplete_checkpoint_is_refused(small, tmp_path, name, make, gone, told):
    path = tmp_path / "model.safetensors"
    save_file({key: value for key, value in make().items() if not key.endswith(gone)}, path)
    with pytest.raises(UserError, match=told):
        backbones.create(name, weights=path)
