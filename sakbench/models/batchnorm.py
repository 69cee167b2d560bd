"""Batch normalisation over the images of all processes."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from sakbench.models.processes import summed, world


class BatchNorm(nn.BatchNorm2d):
    """`nn.BatchNorm2d` whose statistics are those of the whole batch, however many processes share it.

    `nn.SyncBatchNorm` is the same for GPUs alone; this one can be checked on any machine.
    """

    remembers = True

    @contextmanager
    def repeating(self) -> Iterator[None]:
        """A second pass over maps that were seen already: the running statistics stay as they are."""
        self.remembers = False
        try:
            yield
        finally:
            self.remembers = True

    def forward(self, maps: Tensor) -> Tensor:
        """Maps (B, C, H, W) to the same shape."""
        if not self.training:
            return super().forward(maps)
        if world() == 1:
            if self.remembers:
                return super().forward(maps)
            mean, variance = self.get_buffer("running_mean").clone(), self.get_buffer("running_var").clone()
            return F.batch_norm(maps, mean, variance, self.weight, self.bias, training=True, eps=self.eps)
        values = maps.to(torch.promote_types(maps.dtype, torch.float32))
        here = values.new_tensor([values.numel() / values.shape[1]])
        together = summed(torch.cat([values.sum((0, 2, 3)), here]))
        pixels = together[-1:]
        mean = together[:-1] / pixels
        centred = values - mean.view(1, -1, 1, 1)
        variance = summed(centred.square().sum((0, 2, 3))) / pixels
        if self.remembers:
            self._remember(mean.detach(), variance.detach() * pixels / (pixels - 1))
        scale = self.weight * (variance + self.eps).rsqrt()
        return torch.addcmul(self.bias.view(1, -1, 1, 1), centred, scale.view(1, -1, 1, 1)).to(maps.dtype)

    def _remember(self, mean: Tensor, variance: Tensor) -> None:
        """Move the running statistics towards those of this batch."""
        assert self.running_mean is not None and self.running_var is not None and self.num_batches_tracked is not None
        assert self.momentum is not None
        self.running_mean.lerp_(mean, self.momentum)
        self.running_var.lerp_(variance, self.momentum)
        self.num_batches_tracked += 1
