"""Theia: a DeiT, its checkpoint in the names of Hugging Face's transformers; converted here, without remote code."""

from functools import partial
from typing import Any

import torch
from timm.models.vision_transformer import VisionTransformer
from torch import nn

from sakbench.backbones.files import State
from sakbench.errors import UserError

_PREFIX = "backbone.model."
_EMBEDDINGS = {
    "embeddings.cls_token": "cls_token",
    "embeddings.position_embeddings": "pos_embed",
    "embeddings.patch_embeddings.projection.weight": "patch_embed.proj.weight",
    "embeddings.patch_embeddings.projection.bias": "patch_embed.proj.bias",
}
_BLOCK = {
    "layernorm_before": "norm1",
    "attention.output.dense": "attn.proj",
    "layernorm_after": "norm2",
    "intermediate.dense": "mlp.fc1",
    "output.dense": "mlp.fc2",
}


class Theia(VisionTransformer):
    """Theia's encoder: a vision transformer with the LayerNorm epsilon of transformers' ViT, 1e-12."""

    def __init__(self, **options: Any):
        super().__init__(**options, norm_layer=partial(nn.LayerNorm, eps=1e-12), num_classes=0)


def convert(state: State, source: str) -> State:
    """The state of a `Theia` from a released checkpoint; feature translators, pooler and final norm are left behind.

    Raises UserError if the state is not one of Theia's.
    """
    # A reader that strips "backbone." has left "model.".
    inside = {
        key.removeprefix("backbone.").removeprefix("model."): value.float()
        for key, value in state.items()
        if key.startswith((_PREFIX, "model."))
    }
    if "embeddings.cls_token" not in inside:
        raise UserError(f"{source} is no checkpoint of Theia: it holds no {_PREFIX}embeddings.cls_token.")
    converted: State = {}
    for key, value in inside.items():
        if key.startswith("encoder.layer."):
            index, _, rest = key.removeprefix("encoder.layer.").partition(".")
            part, _, kind = rest.rpartition(".")
            if not part.startswith("attention.attention."):
                converted[f"blocks.{index}.{_BLOCK.get(part, part)}.{kind}"] = value
            elif part.endswith("query"):
                three = [inside.get(key.replace("query", name)) for name in ("query", "key", "value")]
                converted[f"blocks.{index}.attn.qkv.{kind}"] = torch.cat([one for one in three if one is not None])
        elif not key.startswith(("layernorm.", "pooler.")):
            converted[_EMBEDDINGS.get(key, key)] = value
    return converted
