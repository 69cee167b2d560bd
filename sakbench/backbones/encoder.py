"""Any encoder of timm's kind: images in, four levels of patch-token maps out."""

from typing import Any, Literal

import torch
import torch.nn.functional as F
from timm.models.vision_transformer import VisionTransformer
from torch import Tensor, nn

from sakbench.backbones import inputs
from sakbench.errors import UserError

LEVELS = 4
SamPadding = Literal["crop", "stretch"]


class Encoder(nn.Module):
    """A model with timm's `forward_intermediates`, without its final norm, neck, pooling and classifier.

    The levels of a plain transformer are the outputs of blocks L/4, L/2, 3L/4 and L (paper 3.2), those of a
    hierarchical encoder its last four stages; un-normalised, patch tokens only. `dims` are their widths; `dim`,
    `patch_size` and `grid` are those of the last level, in a plain transformer of every level.

    `statistics` are the mean and deviation (per channel, of pixels in 0 to 1) by which the model wants its images
    normalised, if not by ImageNet's. A model with `own_input` takes images of any size: see `forward`. With
    `class_token` every cell of a level holds the level's class token too, behind its own (`dims` are twice as large);
    a model without one is as it was. `final_norm` keeps the model's last norm, which `summaries` alone look at.

    Raises UserError for a model that gives fewer than four levels, and for images smaller than a patch.
    """

    name: str = ""  # in the registry or timm, if it came from there
    vit: Any  # timm's own module
    renormalisation: inputs.Renormalisation | None

    def __init__(
        self,
        vit: nn.Module,
        *,
        image_size: tuple[int, int] | None = None,
        statistics: inputs.Statistics | None = None,
        own_input: bool = False,
        sam_padding: SamPadding = "crop",
        class_token: bool = False,
        final_norm: bool = False,
    ):
        super().__init__()
        self.vit = vit
        features: list[dict[str, int]] = self.vit.feature_info
        self.depth = len(features)
        self.levels = level_numbers([feature["reduction"] for feature in features])  # 1-based, as Z_l
        one, two, three, four = (features[level - 1] for level in self.levels)
        self.dims = one["num_chs"], two["num_chs"], three["num_chs"], four["num_chs"]
        self.strides = one["reduction"], two["reduction"], three["reduction"], four["reduction"]
        self.dim, self.patch_size = self.dims[-1], self.strides[-1]
        strip(vit, norm=not final_norm)
        self.image_size: tuple[int, int] = image_size or self.vit.patch_embed.img_size
        self.grid = self.image_size[0] // self.patch_size, self.image_size[1] // self.patch_size
        if min(self.grid) < 1:
            raise UserError(f"images of {self.image_size} are smaller than a patch of {self.patch_size} pixels.")
        self.prefix_tokens: int = getattr(vit, "num_prefix_tokens", 0)
        self.class_token = class_token and self.prefix_tokens > 0
        if self.class_token:
            self.dims = 2 * one["num_chs"], 2 * two["num_chs"], 2 * three["num_chs"], 2 * four["num_chs"]
            self.dim = self.dims[-1]
        self.own_input, self.sam_padding = own_input, sam_padding
        self.renormalisation = inputs.Renormalisation(statistics) if statistics else None

    def forward(self, images: Tensor) -> list[Tensor]:
        """Images (B, 3, H, W) at `image_size`, normalised by ImageNet's statistics, to four maps (B, d_l, h_l, w_l).

        With `own_input` H and W are any: the images are resized so that they fill `image_size` in one direction and
        zero-padded at bottom and right. With `sam_padding="crop"` the maps lose the cells that hold nothing but
        padding; a cell that is padding in part stays (448 x 576 fills 49.75 of SAM's 64 rows: 50 are kept). With
        "stretch" they keep all, as in the authors' code.
        Raises UserError for a size that the model cannot take.
        """
        images = self._renormalised(images)
        if not self.own_input:
            return self._maps(images)
        fitted, content = inputs.fit(images, self.image_size)
        maps = self._maps(fitted)
        return maps if self.sam_padding == "stretch" else [inputs.crop(m, content, self.image_size) for m in maps]

    def tokens(self, images: Tensor) -> list[Tensor]:
        """Z_0 to Z_L of Eq. 1, each (B, prefix + n, d): the embedding and every block's output.

        For `VisionTransformer`s only: SAM's keep their tokens as maps.
        """
        tokens = self.vit.norm_pre(self.vit._pos_embed(self.vit.patch_embed(self._renormalised(images))))
        outputs = [tokens]
        for block in self.vit.blocks:
            outputs.append(block(outputs[-1]))
        return outputs

    def summaries(self, images: Tensor) -> tuple[list[Tensor], Tensor]:
        """What a linear classifier sees (DINOv2's protocol): a vector (B, d) of each of the last four blocks, and the
        mean (B, d) of the last one's patch tokens.

        The vector is the class token or, in a model without one, the mean of the patch tokens; of a hierarchical model
        the blocks are its four levels. All are normalised: by the model's last norm, where it was kept and is as wide,
        otherwise by a LayerNorm without parameters.
        """
        images = self._renormalised(images)
        staged = len(set(self.strides)) > 1
        taps = [level - 1 for level in self.levels] if staged else [self.depth - LEVELS + i for i in range(LEVELS)]
        if self.own_input:
            images, _ = inputs.fit(images, self.image_size)
        blocks = self.vit.forward_intermediates(
            images,
            indices=taps,
            output_fmt="NCHW",
            norm=False,
            intermediates_only=True,
            **{"return_prefix_tokens": True} if self.prefix_tokens else {},
        )
        pairs = blocks if self.prefix_tokens else [(block, None) for block in blocks]
        patches = [self._normed(block.flatten(2).transpose(1, 2)).mean(1) for block, _ in pairs]
        vectors = [
            mean if prefix is None else self._normed(prefix[:, :1])[:, 0]
            for mean, (_, prefix) in zip(patches, pairs, strict=True)
        ]
        return vectors, patches[-1]

    def _normed(self, tokens: Tensor) -> Tensor:
        norm, width = getattr(self.vit, "norm", None), tokens.shape[-1:]
        weight = getattr(norm, "weight", None)
        if weight is None or weight.shape != width:
            return F.layer_norm(tokens, width)
        if isinstance(norm, nn.LayerNorm):  # of tokens or of maps
            return F.layer_norm(tokens, width, norm.weight, norm.bias, norm.eps)
        return norm(tokens)  # type: ignore[misc]

    def _maps(self, images: Tensor) -> list[Tensor]:
        # Tokens need not be copied to be maps.
        form = "NLC" if isinstance(self.vit, VisionTransformer) else "NCHW"
        taps = [level - 1 for level in self.levels]
        try:
            levels = self.vit.forward_intermediates(
                images,
                indices=taps,
                output_fmt=form,
                norm=False,
                intermediates_only=True,
                **{"return_prefix_tokens": True} if self.class_token else {},
            )
        except (AssertionError, IndexError) as error:  # so timm refuses sizes
            height, width = images.shape[-2:]
            reason = f" ({error})" if str(error) else ""
            raise UserError(f"{self.name or 'the encoder'} cannot see images of {height} x {width}{reason}.") from error
        if self.class_token:
            levels, prefixes = zip(*levels, strict=True)
        if form == "NLC":
            grid = self.vit.patch_embed.dynamic_feat_size(images.shape[2:])
            levels = [level.transpose(1, 2).unflatten(2, grid) for level in levels]
        if not self.class_token:
            return levels
        return [
            torch.cat([level, prefix[:, 0, :, None, None].expand_as(level)], dim=1)
            for level, prefix in zip(levels, prefixes, strict=True)
        ]

    def _renormalised(self, images: Tensor) -> Tensor:
        return images if self.renormalisation is None else self.renormalisation(images)


def strip(vit: Any, *, norm: bool = True) -> None:
    """Take away what no level depends on: final `norm`, neck, pooling, classifier.

    Distributed training asks for a gradient of every parameter.
    """
    levels = level_numbers([feature["reduction"] for feature in vit.feature_info])
    vit.prune_intermediate_layers([level - 1 for level in levels], prune_norm=norm, prune_head=True)


def level_numbers(strides: list[int]) -> tuple[int, int, int, int]:
    """Which features are the four levels, counted from 1: four even steps in depth, or the last four stages.

    `strides` are the pixels per cell of all features that a model can give; they only change between stages.
    Raises UserError for fewer than four features.
    """
    count = len(strides)
    if count < LEVELS:
        raise UserError(f"a backbone must give {LEVELS} levels of features, this one gives {count}: take another.")
    if len(set(strides)) == 1:
        return count // 4, count // 2, 3 * count // 4, count
    return count - 3, count - 2, count - 1, count


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
