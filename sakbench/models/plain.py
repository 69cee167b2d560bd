"""The baselines: an encoder and one head per task (single-task, multi-task; frozen, a probe)."""

from collections.abc import Mapping, Sequence

from torch import Tensor, nn

from sakbench.backbones.encoder import Encoder
from sakbench.models import decoders
from sakbench.models.hub import Saved


class PlainStudent(nn.Module, Saved):
    """An encoder whose four levels go straight to the decoder; `tasks` gives each task's number of channels."""

    stands_on = "encoder"

    def __init__(self, encoder: Encoder, tasks: Mapping[str, int], *, decoder: str = "simple"):
        super().__init__()
        self.encoder = encoder
        self.tasks = dict(tasks)
        self.heads = decoders.make(decoder, encoder.dims, tasks)
        self.settings = {"tasks": self.tasks, "decoder": decoder}
        self.about, self.output_size = {}, None

    def forward(self, images: Tensor, output_size: tuple[int, int] | None = None) -> dict[str, Tensor]:
        """Images (B, 3, H, W) to each task's logits (B, c, H', W') at `output_size`, by default the images' own."""
        return self.predict(self.represent(images), output_size or (images.shape[2], images.shape[3]))

    def represent(self, images: Tensor) -> list[Tensor]:
        """The encoder's four maps (B, d, h, w): what a probe may keep, since its encoder does not change."""
        return self.encoder(images)

    def predict(self, maps: Sequence[Tensor], output_size: tuple[int, int]) -> dict[str, Tensor]:
        """Each task's logits (B, c, H, W) from the four maps."""
        return self.heads(dict.fromkeys(self.tasks, maps), output_size)
