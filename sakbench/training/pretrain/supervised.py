"""Supervised pretraining: classify the main object. Stands for the ViT trained on ImageNet labels."""

from collections.abc import Mapping
from typing import Any

from timm.models.vision_transformer import VisionTransformer
from torch import Tensor, nn
from torch.nn import functional as F

from sakbench.training.pretrain.views import normalise, random_colours, random_crop, unit
from sakbench.training.pretrain.vit import tokens, weight_decay_groups


class Classification(nn.Module):
    """Cross-entropy of the main object's class, read from the class token."""

    def __init__(self, vit: VisionTransformer, classes: int, *, weight_decay: float = 0.05) -> None:
        super().__init__()
        self.encoder = vit
        self.head = nn.Linear(vit.embed_dim, classes)
        self.weight_decay = weight_decay

    def forward(self, batch: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """`images` uint8 (B, 128, 128, 3) and `dominant` int64 (B,)."""
        crops = random_crop(unit(batch["images"]), 64, (0.5, 1.0)).images
        logits = self.logits(normalise(random_colours(crops, 0.15)))
        return {"class": F.cross_entropy(logits, batch["dominant"], label_smoothing=0.1)}

    def logits(self, images: Tensor) -> Tensor:
        """Class logits (B, classes) of normalised images (B, 3, 64, 64)."""
        out: Tensor = self.head(tokens(self.encoder, images)[:, 0])
        return out

    def parameter_groups(self) -> list[dict[str, Any]]:
        """Matrices decay, the rest does not."""
        return weight_decay_groups(self, self.weight_decay)
