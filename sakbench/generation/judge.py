"""A classifier's opinion: does a picture show the old class or the new one?"""

from pathlib import Path
from typing import Any

import torch
from PIL import Image

from sakbench.data.pairs.manifest import Bytes
from sakbench.generation.pinned import Pinned, complete, load


class Judge:
    """CLIP, asked in words; raises `UserError` where its weights are not."""

    def __init__(self, model: Pinned, device: str) -> None:
        from transformers import CLIPModel, CLIPProcessor

        self.processor = load(model, "the classifier", "--judge", CLIPProcessor.from_pretrained)

        def read(folder: Path) -> Any:
            return complete(CLIPModel.from_pretrained, folder).to(device).eval()

        self.network = load(model, "the classifier", "--judge", read)

    @torch.inference_mode()
    def __call__(self, picture: Bytes, old: str, new: str) -> float:
        """How much of the belief in the two classes goes to `new`, for a picture uint8 (s, s, 3): 0 to 1."""
        texts = [f"a photo of a {name}" for name in (old, new)]
        inputs = self.processor(
            text=texts, images=Image.fromarray(picture), return_tensors="pt", padding=True, truncation=True
        )
        logits = self.network(**inputs.to(self.network.device)).logits_per_image[0]
        return float(logits.float().softmax(0)[1])
