"""A callable that gives feature maps, as a model of timm's kind."""

from collections.abc import Callable, Sequence
from typing import Any

from torch import Tensor, nn

from sakbench.backbones.encoder import LEVELS
from sakbench.errors import UserError

Maps = Callable[[Tensor], Sequence[Tensor] | Tensor]  # images (B, 3, H, W), normalised, to maps (B, d, h, w)


class FeatureMaps(nn.Module):
    """What `Encoder` needs of a model, around a callable: one map, which stands for all four levels, or four and more.

    `example` (B, 3, H, W) are images of the size that it will see. Raises UserError for a callable that gives anything
    else than maps, or fewer than four but more than one.
    """

    num_prefix_tokens = 0

    def __init__(self, maps: Maps, example: Tensor):
        super().__init__()
        self.maps = maps
        found = self._given(example)
        height = example.shape[-2]
        self.feature_info = [
            {"num_chs": level.shape[1], "reduction": max(1, round(height / level.shape[2]))} for level in found
        ]

    def forward_intermediates(self, images: Tensor, *, indices: Sequence[int], **options: Any) -> list[Tensor]:
        """The maps of those numbers; other options are timm's and change nothing here."""
        found = self._given(images)
        return [found[index] for index in indices]

    def prune_intermediate_layers(self, indices: Sequence[int], **options: Any) -> None:
        """Nothing of a callable can be taken away."""

    def _given(self, images: Tensor) -> list[Tensor]:
        answer = self.maps(images)
        if isinstance(answer, Tensor):
            levels = [answer]
        else:
            levels = list(answer) if isinstance(answer, Sequence) else []
        levels = levels * LEVELS if len(levels) == 1 else levels
        if len(levels) < LEVELS or any(
            not isinstance(level, Tensor) or level.dim() != 4 or len(level) != len(images) or not level.numel()
            for level in levels
        ):
            kinds = ", ".join(str(tuple(getattr(level, "shape", ()))) for level in levels)
            raise UserError(
                f"a callable must give one map (B, d, h, w), or at least {LEVELS}, for images (B, 3, H, W); this one"
                f" gave {kinds or 'nothing'} for {tuple(images.shape)}."
            )
        return levels
