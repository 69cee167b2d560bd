"""RADIO v2.5: a vision transformer with one summary token per teacher and cropped position embeddings.

Its authors run it from code that torch.hub fetches. None of that is needed: the blocks are timm's, and the embedding is
written down here. A released checkpoint (safetensors of the hub, or the torch hub's file) is converted by name.
"""

from typing import Any

import torch
import torch.nn.functional as F
from timm.models.vision_transformer import VisionTransformer
from torch import Tensor, nn

from sakbench.backbones.files import State
from sakbench.errors import UserError

STATISTICS = ((0.48145466, 0.4578275, 0.40821073), (0.26862954, 0.26130258, 0.27577711))  # OpenAI's CLIP's
_GRID = 128  # position embeddings per side, for images of up to 2048 pixels
_SUMMARIES = 8  # a token for each teacher and registers up to eight


class Radio(VisionTransformer):
    """RADIO's encoder for images of any size.

    The position embeddings are learned on a grid of 128 x 128. A map of h x w patches gets them resized to a square of
    its longer side (bilinear, corners aligned) and cropped at bottom and right. The random crops of RADIO's own
    training are left out: an image always sees the same embeddings.
    """

    cls_token: nn.Parameter
    reg_token: nn.Parameter
    pos_embed: nn.Parameter

    def __init__(self, **options: Any):
        super().__init__(
            **options, reg_tokens=_SUMMARIES - 1, no_embed_class=True, final_norm=False, pos_embed="none", num_classes=0
        )
        self.patch_embed.proj.bias = None
        self.pos_embed = nn.Parameter(torch.randn(1, _GRID**2, self.embed_dim) * self.embed_dim**-0.5)

    def _pos_embed(self, x: Tensor) -> Tensor:
        height, width = self.patch_embed.grid_size
        side = max(height, width)
        positions = self.pos_embed.transpose(1, 2).unflatten(2, (_GRID, _GRID))
        positions = F.interpolate(positions, size=(side, side), mode="bilinear", align_corners=True)
        positions = positions[..., :height, :width].flatten(2).transpose(1, 2)
        prefix = torch.cat((self.cls_token, self.reg_token), dim=1).expand(len(x), -1, -1)
        return torch.cat((prefix, x + positions), dim=1)


def convert(state: State, source: str) -> State:
    """The state of a `Radio` from a released checkpoint: the hub's names or the torch hub's, in any precision.

    The input conditioner, the adaptors and what else is not the encoder are left behind.
    Raises UserError if the state is not one of RADIO's.
    """
    for prefix in ("radio_model.model.", "base_model."):
        inside = {key.removeprefix(prefix): value.float() for key, value in state.items() if key.startswith(prefix)}
        if "patch_generator.embedder.weight" in inside:
            break
    else:
        raise UserError(f"{source} is no checkpoint of RADIO: it holds no patch_generator.embedder.weight.")
    patches, tokens = inside.pop("patch_generator.embedder.weight"), inside.pop("patch_generator.cls_token.token", None)
    patch = round((patches.shape[1] / 3) ** 0.5)
    converted = {"patch_embed.proj.weight": patches.unflatten(1, (3, patch, patch))}
    if tokens is not None:
        converted |= {"cls_token": tokens[None, :1], "reg_token": tokens[None, 1:]}
    inside = {key.removeprefix("patch_generator."): value for key, value in inside.items()}
    return converted | {key: value for key, value in inside.items() if not key.startswith(("norm.", "head."))}
