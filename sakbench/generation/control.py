"""Control signals: what of a photograph a counterfactual must keep, as ControlNet reads it."""

from importlib.metadata import version
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from skimage.color import rgb2gray
from skimage.feature import canny
from skimage.segmentation import find_boundaries

from sakbench.data.pairs.manifest import Bytes
from sakbench.generation.pinned import Pinned, load

# Canny's thresholds, as shares of the range, and the blur before: as many edges as ControlNet has learned from.
_LOW, _HIGH, _BLUR = 0.2, 0.4, 1.0


class Control(Protocol):
    """The control signal uint8 (s, s, 3) of a picture, likewise, and the mask bool (s, s) of its object."""

    def __call__(self, picture: Bytes, mask: NDArray[np.bool_]) -> Bytes:
        """The signal of one picture."""


class Edges:
    """Canny's edges and the object's outline, which its shape depends on and colours may not show: white on black."""

    # what is written down of it
    about = f"Canny edges and outline, scikit-image {version('scikit-image')}"

    def __call__(self, picture: Bytes, mask: NDArray[np.bool_]) -> Bytes:
        """The edges of one picture."""
        found = canny(rgb2gray(picture), sigma=_BLUR, low_threshold=_LOW, high_threshold=_HIGH)
        found |= find_boundaries(mask, mode="inner")
        return np.repeat((255 * found).astype(np.uint8)[..., None], 3, axis=-1)


class Depth:
    """Relative depth by a network of the DPT kind, near is white; raises `UserError` where its weights are not."""

    def __init__(self, model: Pinned, device: str) -> None:
        from transformers import AutoImageProcessor, AutoModelForDepthEstimation

        self.processor = load(model, "the depth detector", "--detector", AutoImageProcessor.from_pretrained)

        def read(folder: Path) -> Any:
            return AutoModelForDepthEstimation.from_pretrained(folder).to(device).eval()

        self.network = load(model, "the depth detector", "--detector", read)

    @torch.inference_mode()
    def __call__(self, picture: Bytes, mask: NDArray[np.bool_]) -> Bytes:
        """The depth of one picture, stretched to the whole range."""
        inputs = self.processor(images=Image.fromarray(picture), return_tensors="pt").to(self.network.device)
        depth = self.network(**inputs).predicted_depth[0].float().cpu().numpy()
        low, high = float(depth.min()), float(depth.max())
        grey = (depth - low) / (high - low) if high > low else np.zeros_like(depth)
        size = (picture.shape[1], picture.shape[0])
        resized = np.asarray(Image.fromarray(grey.astype(np.float32)).resize(size, Image.Resampling.BICUBIC))
        return np.repeat(np.rint(255 * resized.clip(0, 1)).astype(np.uint8)[..., None], 3, axis=-1)
