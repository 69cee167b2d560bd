"""Any plain vision transformer as an encoder: images in, four levels of patch-token maps out."""

from difflib import get_close_matches
from functools import cache
from typing import Any

import timm
import torch
import torch.nn.functional as F
from safetensors.torch import load_file
from timm.models.vision_transformer import VisionTransformer
from torch import Tensor, nn

from sakbench.backbones import cards
from sakbench.backbones.registry import TIMM_PREFIX, BackboneInfo, info
from sakbench.errors import UserError, unknown

LEVELS = 4


class Encoder(nn.Module):
    """A timm transformer without its final norm, pooling and classifier.

    The levels are the outputs of blocks L/4, L/2, 3L/4 and L (paper 3.2), un-normalised, patch tokens only.
    """

    vit: Any  # timm's own module

    def __init__(self, vit: nn.Module):
        super().__init__()
        for part in ("norm", "fc_norm", "neck", "attn_pool", "head_drop", "head"):
            if isinstance(getattr(vit, part, None), nn.Module):
                setattr(vit, part, nn.Identity())
        self.vit = vit
        self.dim: int = self.vit.embed_dim
        self.dims = (self.dim,) * LEVELS  # the width of each level
        self.depth: int = len(self.vit.blocks)
        self.levels = tuple(level * self.depth // LEVELS for level in range(1, LEVELS + 1))  # 1-based, as Z_l
        self.patch_size: int = self.vit.patch_embed.patch_size[0]
        self.image_size: tuple[int, int] = self.vit.patch_embed.img_size
        self.grid: tuple[int, int] = self.vit.patch_embed.grid_size
        self.prefix_tokens: int = getattr(vit, "num_prefix_tokens", 0)

    def forward(self, images: Tensor) -> list[Tensor]:
        """Images (B, 3, H, W) at `image_size` to four maps (B, d, h, w)."""
        blocks = [level - 1 for level in self.levels]
        return self.vit.forward_intermediates(
            images, indices=blocks, output_fmt="NCHW", norm=False, intermediates_only=True
        )

    def tokens(self, images: Tensor) -> list[Tensor]:
        """Z_0 to Z_L of Eq. 1, each (B, prefix + n, d): the embedding and every block's output.

        For `VisionTransformer`s only: SAM's keep their tokens as maps.
        """
        tokens = self.vit.norm_pre(self.vit._pos_embed(self.vit.patch_embed(images)))
        outputs = [tokens]
        for block in self.vit.blocks:
            outputs.append(block(outputs[-1]))
        return outputs


def create(name: str, *, image_size: int | tuple[int, int] | None = None, pretrained: bool = True) -> Encoder:
    """Build a backbone, for images of `image_size` pixels (its native size if None).

    `pretrained=False` gives a fresh initialisation, drawn from torch's global generator; the weights of a
    `.random` backbone are random too, but always the same.
    Raises UserError for an unknown name, and for weights that are missing, damaged or out of reach.
    """
    entry = info(name)
    if entry.weights == "timm":
        return _from_timm(name.removeprefix(TIMM_PREFIX), image_size, pretrained)
    if entry.weights == "random" and pretrained:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)
            return _plain(entry, image_size)
    encoder = _plain(entry, image_size)
    if pretrained:
        _load(encoder, entry)
    return encoder


def resize_position_embedding(embedding: Tensor, old: tuple[int, int], new: tuple[int, int], prefix: int) -> Tensor:
    """Carry a position embedding (1, prefix + n, d) over to another token grid.

    Bicubic without antialiasing; the first `prefix` rows (class token) are kept as they are.
    """
    kept, grid = embedding[:, :prefix], embedding[:, prefix:]
    if old == new:
        return embedding
    as_map = grid.transpose(1, 2).unflatten(2, old)
    resized = F.interpolate(as_map, size=new, mode="bicubic", align_corners=False)
    return torch.cat((kept, resized.flatten(2).transpose(1, 2)), dim=1)


@cache
def timm_info(name: str) -> BackboneInfo:
    """The entry of a `timm/<architecture>.<tag>` name, from timm's own configuration."""
    with torch.device("meta"):
        encoder = _from_timm(name.removeprefix(TIMM_PREFIX), None, pretrained=False)
    config = encoder.vit.pretrained_cfg
    return BackboneInfo(
        name=name,
        dim=encoder.dim,
        depth=encoder.depth,
        heads=encoder.vit.blocks[0].attn.num_heads,
        patch_size=encoder.patch_size,
        image_size=encoder.image_size[0],
        objective="see its model card",
        data="see its model card",
        licence=config.get("license") or "not stated",
        own_input=not isinstance(encoder.vit, VisionTransformer),
    )


def _plain(entry: BackboneInfo, image_size: int | tuple[int, int] | None) -> Encoder:
    vit = VisionTransformer(
        img_size=image_size or entry.image_size,
        patch_size=entry.patch_size,
        embed_dim=entry.dim,
        depth=entry.depth,
        num_heads=entry.heads,
        num_classes=0,
    )
    return Encoder(vit)


def _load(encoder: Encoder, entry: BackboneInfo) -> None:
    state = load_file(cards.weights_file(entry.name))
    native = entry.image_size // entry.patch_size
    try:
        state["pos_embed"] = resize_position_embedding(
            state["pos_embed"], (native, native), encoder.grid, encoder.prefix_tokens
        )
        encoder.vit.load_state_dict(state)
    except (KeyError, RuntimeError) as error:
        raise UserError(f"the weights of {entry.name} are of another architecture: {cards.REMEDY}") from error


def _from_timm(name: str, image_size: int | tuple[int, int] | None, pretrained: bool) -> Encoder:
    known = timm.list_pretrained()
    if name not in known:
        raise unknown("pretrained timm model", name, get_close_matches(name, known, n=3, cutoff=0))
    size: dict[str, Any] = {} if image_size is None else {"img_size": image_size}
    try:
        vit = timm.create_model(name, pretrained=pretrained, num_classes=0, **size)
    except OSError as error:
        raise UserError(
            f"the weights of timm/{name} are neither in the Hugging Face cache nor can they be downloaded: "
            "connect once, or set HF_HOME to a cache that holds them."
        ) from error
    except TypeError as error:
        if image_size is None:
            raise
        raise UserError(f"timm/{name} cannot be built for another image size, {image_size}.") from error
    if not (hasattr(vit, "blocks") and hasattr(getattr(vit, "patch_embed", None), "grid_size")):
        raise UserError(f"timm/{name} is not a plain transformer: it has no blocks of one width on one grid.")
    return Encoder(vit)
