"""odsF as a metric among the others: accumulates over batches of probabilities and targets."""

import numpy as np
import torch
from torch import Tensor

from sakbench.metrics.base import IGNORE, Metric, forbid_pixels, require_pixels
from sakbench.metrics.boundary.counting import THRESHOLDS, Mode, check_settings, counts
from sakbench.metrics.boundary.summary import summarize
from sakbench.metrics.boundary.suppression import nms


def describe(max_dist: float, mode: str, nms_radius: int, *, strict: bool) -> str:
    """A protocol in words: matching, tolerance, suppression and comparison."""
    suppression = f"NMS r {nms_radius}" if nms_radius else "no NMS"
    return f"{mode} matching, max_dist {max_dist:g}, {suppression}, {'>' if strict else '>='}"


class OdsF(Metric):
    """Accumulates `counts` over boundary probabilities (B, H, W); computes the ODS F-measure in percent.

    A probability becomes a byte as in a saved PNG, p * 255 without its fraction. Targets are 0, 1 and 255; where they
    are 255 nothing is predicted. `max_dist` is 0.0075 for PASCAL-Context and 0.011 for NYUD-v2;
    `nms_radius` 0 leaves suppression out, `strict` passes a threshold by `>` instead of `>=`.
    """

    def __init__(
        self, max_dist: float = 0.0075, mode: Mode = "exact", *, nms_radius: int = 4, strict: bool = False
    ) -> None:
        check_settings(max_dist, mode)
        # a row per threshold: cntR, sumR, cntP, sumP; then valid pixels, targets and predictions out of range
        super().__init__(torch.zeros(len(THRESHOLDS) + 1, 4, dtype=torch.int64))
        self.max_dist = max_dist
        self.mode = mode
        self.nms_radius = nms_radius
        self.strict = strict

    @property
    def protocol(self) -> str:
        """What else has to be known to compare the number with another."""
        return describe(self.max_dist, self.mode, self.nms_radius, strict=self.strict)

    def count(self, prediction: Tensor, target: Tensor) -> Tensor:
        """Counts of a batch, int64 (100, 4); raises ValueError where the maps are not (B, H, W)."""
        if target.ndim != 3:
            raise ValueError(f"boundary maps have the shape (B, H, W), not {tuple(target.shape)}")
        probability, target = prediction.float().cpu(), target.cpu()
        valid, true = target != IGNORE, target == 1
        sane = (probability >= 0) & (probability <= 1)
        stray = valid & ~true & (target != 0)
        sums = torch.zeros_like(self.sums, device="cpu")
        sums[-1] = torch.stack([valid.sum(), stray.sum(), (valid & ~sane).sum(), torch.tensor(0)])
        byte = torch.where(valid & sane, probability * 255, 0).to(torch.uint8).numpy()
        for image, truth in zip(byte, true.numpy(), strict=True):
            ridges = nms(image, self.nms_radius) if self.nms_radius else image
            counted = counts(ridges, truth[None], self.max_dist, mode=self.mode, strict=self.strict)
            sums[:-1] += torch.from_numpy(np.stack(counted, axis=-1))
        return sums

    def reduce(self, sums: Tensor) -> float:
        """The ODS F-measure of the pooled counts, in percent."""
        valid, stray, insane, _ = sums[-1].tolist()
        forbid_pixels(torch.tensor(stray), f"their boundary target is none of 0, 1 and {IGNORE}")
        forbid_pixels(torch.tensor(insane), "their boundary prediction is not a probability from 0 to 1")
        require_pixels(torch.tensor(valid))
        return 100 * summarize(sums[None, :-1].numpy()).ods
