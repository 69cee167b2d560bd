"""Image-text contrast, as in CLIP: class token against caption. Stands for CLIP."""

import math
from collections.abc import Mapping
from typing import Any

import torch
from timm.models.vision_transformer import VisionTransformer
from torch import Tensor, nn
from torch.nn import functional as F

from sakbench.training.pretrain.views import normalise, random_colours, random_crop, unit
from sakbench.training.pretrain.vit import tokens, weight_decay_groups


class TextTower(nn.Module):
    """A small transformer over caption tokens; its output is read at a leading summary token."""

    def __init__(self, vocabulary: int, length: int, dim: int, depth: int, heads: int) -> None:
        super().__init__()
        self.words = nn.Embedding(vocabulary, dim)
        self.positions = nn.Parameter(0.02 * torch.randn(1, 1 + length, dim))
        self.summary = nn.Parameter(0.02 * torch.randn(1, 1, dim))
        layer = nn.TransformerEncoderLayer(
            dim, heads, 4 * dim, dropout=0.0, activation="gelu", batch_first=True, norm_first=True
        )
        self.blocks = nn.TransformerEncoder(layer, depth, nn.LayerNorm(dim), enable_nested_tensor=False)
        nn.init.normal_(self.words.weight, std=0.02)

    def forward(self, captions: Tensor) -> Tensor:
        """Captions int64 (B, L), 0 where padded, to embeddings (B, dim)."""
        words = self.words(captions)
        x = torch.cat([self.summary.expand(len(words), -1, -1), words], dim=1) + self.positions
        padding = F.pad(captions == 0, (1, 0), value=False)
        out: Tensor = self.blocks(x, src_key_padding_mask=padding)[:, 0]
        return out


class ImageText(nn.Module):
    """Symmetric cross-entropy over the similarities of a batch's images and captions.

    While `steps_done` is below `masked_steps` only a random half of the patches goes through the blocks (twice the
    pairs in the same time, as in FLIP); after that the encoder sees whole images.
    """

    steps_done: Tensor

    def __init__(
        self,
        vit: VisionTransformer,
        vocabulary: int,
        length: int,
        mirror: Tensor,
        *,
        masked_steps: int,
        dim: int = 128,
        weight_decay: float = 0.1,
    ) -> None:
        super().__init__()
        self.encoder = vit
        self.text = TextTower(vocabulary, length, dim, depth=3, heads=4)
        self.image_projection = nn.Linear(vit.embed_dim, dim, bias=False)
        self.text_projection = nn.Linear(dim, dim, bias=False)
        self.log_scale = nn.Parameter(torch.tensor(math.log(1 / 0.07)))
        self.masked_steps = masked_steps
        self.weight_decay = weight_decay
        self.register_buffer("steps_done", torch.zeros((), dtype=torch.long))
        self.register_buffer("mirror", mirror)

    def forward(self, batch: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """`images` uint8 (B, 128, 128, 3) and `captions` int64 (B, L); half of the pairs are mirrored, words too."""
        flipped = torch.rand(len(batch["images"]), device=batch["images"].device) < 0.5
        images = torch.where(flipped.view(-1, 1, 1, 1), batch["images"].flip(2), batch["images"])
        captions = torch.where(flipped.view(-1, 1), self.mirrored(batch["captions"]), batch["captions"])
        crops = random_crop(unit(images), 64, (0.8, 1.0), flip=False).images
        pixels = normalise(random_colours(crops, 0.05))
        keep = None
        if self.steps_done < self.masked_steps:
            n = self.encoder.patch_embed.num_patches
            keep = torch.rand(len(pixels), n, device=pixels.device).topk(n // 2).indices
        logits = self.log_scale.exp().clamp(max=100) * self.embed_images(pixels, keep) @ self.embed_texts(captions).T
        target = torch.arange(len(logits), device=logits.device)
        return {"image": F.cross_entropy(logits, target) / 2, "text": F.cross_entropy(logits.T, target) / 2}

    def embed_images(self, images: Tensor, keep: Tensor | None = None) -> Tensor:
        """Unit embeddings (B, dim) of normalised images, from the class token alone."""
        return F.normalize(self.image_projection(tokens(self.encoder, images, keep=keep)[:, 0]), dim=1)

    def embed_texts(self, captions: Tensor) -> Tensor:
        """Unit embeddings (B, dim) of captions."""
        return F.normalize(self.text_projection(self.text(captions)), dim=1)

    def mirrored(self, captions: Tensor) -> Tensor:
        """The captions of the mirrored images: `mirror` maps every word to its mirror image."""
        mirror: Tensor = self.get_buffer("mirror")
        return mirror[captions]

    def after_step(self, step: int) -> None:
        """Count the steps: whole images after `masked_steps`."""
        self.steps_done.fill_(step + 1)

    def parameter_groups(self) -> list[dict[str, Any]]:
        """Matrices decay, the rest does not."""
        return weight_decay_groups(self, self.weight_decay)
