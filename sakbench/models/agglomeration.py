"""Students that are distilled as RADIO and Theia are: one plain backbone for all teachers, without paths of their own.

Both follow the teachers' last level alone, token by token, through a head per teacher that is thrown away afterwards.
They differ in the head and in how a teacher's features are brought to one size; see `METHODS`.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from sakbench.backbones.encoder import Encoder, resize_position_embedding
from sakbench.errors import UserError
from sakbench.models.autocast import without_autocast
from sakbench.models.hadamard import hadamard
from sakbench.models.interpolation import bilinear
from sakbench.models.plain import PlainStudent
from sakbench.models.processes import total

COSINE_WEIGHT, SMOOTH_L1_WEIGHT = 0.9, 0.1  # of both methods
_LEAST_SCALE = 1e-6

Size = tuple[int, int]


class Agglomerated(nn.Module):
    """A backbone and, for the distillation alone, a head per teacher.

    `teachers` gives each teacher's width and grid (h, w) of patch tokens. A teacher's features are compared as
    (features - mean) @ whiten, which `measure` finds.
    """

    def __init__(self, encoder: Encoder, teachers: Mapping[str, tuple[int, Size]], method: str):
        super().__init__()
        self.encoder = encoder
        self.method = METHODS[method]
        self.teachers = dict(teachers)
        dim = encoder.dims[-1]
        self.aligners = nn.ModuleDict(
            {name: self.method.head(dim, width, _finer(encoder.grid, grid)) for name, (width, grid) in teachers.items()}
        )
        for name, (width, _) in teachers.items():
            self.register_buffer(f"mean_{name}", torch.zeros(width))
            self.register_buffer(f"whiten_{name}", torch.eye(width))

    def represent(self, images: Tensor) -> list[Tensor]:
        """Images (B, 3, H, W) to the backbone's four maps (B, d, h, w)."""
        return self.encoder(images)

    def predicted(self, maps: Sequence[Tensor]) -> dict[str, Tensor]:
        """What each teacher's standardised last map should be, (B, d_teacher, h', w'), from the backbone's maps."""
        return {name: self.aligners[name](maps[-1]) for name in self.teachers}

    def standardised(self, name: str, features: Tensor) -> Tensor:
        """A teacher's map (B, d, h, w) as it is compared."""
        mean, whiten = self.get_buffer(f"mean_{name}"), self.get_buffer(f"whiten_{name}")
        with without_autocast(features.device):
            return ((features.float().movedim(1, -1) - mean) @ whiten).movedim(-1, 1)

    @torch.no_grad()
    def measure(self, name: str, features: Iterable[Tensor]) -> None:
        """Find a teacher's mean and scale from some of its maps (B, d, h, w), over the images of all processes."""
        count, first, second = torch.zeros(()), torch.zeros(()), torch.zeros(())
        device = torch.device("cpu")
        for maps in features:
            device = maps.device
            tokens = maps.movedim(1, -1).flatten(0, 2).double().cpu()
            count = count + len(tokens)
            first = first + tokens.sum(0)
            second = second + tokens.T @ tokens
        count, first, second = (total(part.to(device)).cpu() for part in (count, first, second))
        mean = first / count
        covariance = second / count - torch.outer(mean, mean)
        self.get_buffer(f"mean_{name}").copy_(mean)
        self.get_buffer(f"whiten_{name}").copy_(self.method.whiten(covariance))


def agglomeration_loss(predicted: Tensor, teacher: Tensor) -> Tensor:
    """0.9 * (1 - cosine) + 0.1 * smooth-L1, a scalar, of two maps (B, d, h, w), the smaller enlarged to the larger.

    Unlike SAK's, the cosine is one per token. The teacher's map is a constant.
    """
    size = (max(predicted.shape[2], teacher.shape[2]), max(predicted.shape[3], teacher.shape[3]))
    with without_autocast(predicted.device):
        ours, theirs = bilinear(predicted.float(), size), bilinear(teacher.detach().float(), size)
        cosine = F.cosine_similarity(ours, theirs, dim=1).mean()
        return COSINE_WEIGHT * (1 - cosine) + SMOOTH_L1_WEIGHT * F.smooth_l1_loss(ours, theirs)


def begin_with(state: Mapping[str, Tensor], student: PlainStudent, grid: Size | None = None) -> None:
    """Give a plain student the backbone of an `Agglomerated` one's state.

    The position embedding is resized from its `grid` of patch tokens (square if None).
    Raises UserError if the state is of another backbone.
    """
    encoder, key, prefix = student.encoder, "vit.pos_embed", student.encoder.prefix_tokens
    known = {name.removeprefix("encoder."): values for name, values in state.items() if name.startswith("encoder.")}
    try:
        side = round((known[key].shape[1] - prefix) ** 0.5)
        known[key] = resize_position_embedding(known[key], grid or (side, side), encoder.grid, prefix)
        encoder.load_state_dict(known)
    except (KeyError, RuntimeError) as error:
        raise UserError(f"the distilled state does not fit this backbone: {error}") from error


def _finer(student: Size, teacher: Size) -> int:
    """How many times finer a teacher's grid is, if it is a whole number of times; 1 otherwise."""
    times = teacher[0] // student[0]
    return times if times > 1 and (student[0] * times, student[1] * times) == teacher else 1


class _OverChannels(nn.LayerNorm):
    """LayerNorm over the channels of maps (B, d, h, w)."""

    def forward(self, maps: Tensor) -> Tensor:
        return super().forward(maps.movedim(1, -1)).movedim(-1, 1)


def _translator(dim: int, width: int, finer: int) -> nn.Module:
    """Theia's feature translator: a shallow convolutional network, which enlarges first where the teacher is finer."""
    first: nn.Module = (
        nn.ConvTranspose2d(dim, dim, kernel_size=finer, stride=finer)
        if finer > 1
        else nn.Conv2d(dim, dim, kernel_size=3, padding=1)
    )
    return nn.Sequential(
        first,
        _OverChannels(dim),
        nn.ReLU(),
        nn.Conv2d(dim, dim, kernel_size=3, padding=1),
        _OverChannels(dim),
        nn.ReLU(),
        nn.Conv2d(dim, width, kernel_size=1),
    )


def _mlp(dim: int, width: int, finer: int) -> nn.Module:
    """RADIO's adaptor head: an MLP of two layers on every token."""
    return nn.Sequential(
        nn.Conv2d(dim, dim, kernel_size=1), _OverChannels(dim), nn.GELU(), nn.Conv2d(dim, width, kernel_size=1)
    )


def _each_channel(covariance: Tensor) -> Tensor:
    """Divide every channel by its deviation."""
    return torch.diag(1 / covariance.diagonal().sqrt().clamp(min=_LEAST_SCALE))


def _phi_s(covariance: Tensor) -> Tensor:
    """PHI-S: turn the principal axes into a Hadamard matrix's, where all channels vary alike, and divide by that one
    deviation; so that neither a teacher nor a channel outweighs the others, and no direction is stretched."""
    variances, axes = torch.linalg.eigh(covariance)
    largest = axes.abs().argmax(0)
    axes = axes * axes.gather(0, largest[None]).sign()  # an axis has two directions: one is chosen
    scale = variances.clamp(min=0).mean().sqrt().clamp(min=_LEAST_SCALE)
    return axes @ hadamard(len(covariance)).to(axes) / scale


@dataclass(frozen=True)
class Method:
    """How a method's head is made (of the student's width, the teacher's, and how many times its grid is finer), and
    the matrix (d, d) that it puts behind a teacher's centred features, from their covariance."""

    title: str
    head: Callable[[int, int, int], nn.Module]
    whiten: Callable[[Tensor], Tensor]


# RADIO: Ranzinger et al., 2024, standardised as in PHI-S (2024); without its loss on summary tokens, since of the
# teachers only patch tokens are kept here. Theia: Shang et al., 2024.
METHODS = {
    "radio": Method("RADIO-like", _mlp, _phi_s),
    "theia": Method("Theia-like", _translator, _each_channel),
}
