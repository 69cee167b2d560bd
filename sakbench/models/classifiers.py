"""Many linear classifiers on one frozen model, learned in one pass: DINOv2's protocol (paper Table 26)."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from sakbench.backbones.encoder import LEVELS, Encoder
from sakbench.models.router import Routers
from sakbench.models.sak import SAK, initialise

# Of a batch of 256 images; DINOv2's sweep.
RATES = (1e-5, 2e-5, 5e-5, 1e-4, 2e-4, 5e-4, 1e-3, 2e-3, 5e-3, 1e-2, 2e-2, 5e-2, 1e-1)
_DEVIATION = 0.01  # of the weights at first


class Sweep(nn.Module):
    """For each of several kinds of features as many linear classifiers as there are rates.

    With plain SGD a loss times a rate moves the weights as that rate would, so that all classifiers share one optimiser
    and the weights of one kind lie in one tensor.
    """

    rates: Tensor

    def __init__(self, kinds: Sequence[int], classes: int):
        """`kinds` gives the width of each kind of features."""
        super().__init__()
        self.weights = nn.ParameterList(
            nn.Parameter(torch.empty(len(RATES), width, classes).normal_(std=_DEVIATION)) for width in kinds
        )
        self.biases = nn.ParameterList(nn.Parameter(torch.zeros(len(RATES), 1, classes)) for _ in kinds)
        self.register_buffer("rates", torch.tensor(RATES).repeat(len(kinds)), persistent=False)

    def forward(self, features: Sequence[Tensor]) -> Tensor:
        """Each kind's features, (B, width) or one for every rate (R, B, width), to logits (kinds x R, B, classes)."""
        return torch.cat(
            [each @ weight + bias for each, weight, bias in zip(features, self.weights, self.biases, strict=True)]
        )


class PlainClassifier(nn.Module):
    """A frozen encoder under a sweep: the last block's class token, or the last four blocks', without and with the mean
    of the last one's patch tokens. A model without a class token has the means instead, once."""

    def __init__(self, encoder: Encoder, classes: int):
        super().__init__()
        self.encoder = encoder
        self.names = kinds_of(class_token=encoder.prefix_tokens > 0)
        widths = encoder.dims if len(set(encoder.strides)) > 1 else (encoder.dim,) * LEVELS
        several, last = sum(widths), widths[-1]
        self.sweep = Sweep([last, several, 2 * last, several + last][: len(self.names)], classes)

    def represent(self, images: Tensor) -> list[Tensor]:
        """Of images (B, 3, H, W) each kind's features (B, width)."""
        vectors, mean = self.encoder.summaries(images)
        several = torch.cat(vectors, dim=-1)
        kinds = [vectors[-1], several, torch.cat([vectors[-1], mean], -1), torch.cat([several, mean], -1)]
        return kinds[: len(self.names)]

    def neighbourly(self, features: Sequence[Tensor]) -> Tensor:
        """What neighbours are looked for by, (B, d): the last block's class token, or its mean."""
        return features[0]

    def predict(self, features: Sequence[Tensor]) -> Tensor:
        """Logits (classifiers, B, classes)."""
        return self.sweep(features)


class RoutedClassifier(nn.Module):
    """A frozen SAK student under a sweep: every classifier has routers of its own, which learn with it.

    Its features are the means of the fused patch tokens of the last level, or of all four, normalised without
    parameters. Neighbours are looked for by the last level's experts in equal shares.
    """

    def __init__(self, student: SAK, classes: int):
        super().__init__()
        self.student = student
        self.names = kinds_of(class_token=False)
        dim = student.stem.dim
        experts, routers = len(student.teachers) + 1, len(self.names) * len(RATES)
        self.routers = nn.ModuleList(Routers(routers, experts, dim, student.settings["noise"]) for _ in range(LEVELS))
        initialise(self.routers)
        self.sweep = Sweep([dim, LEVELS * dim], classes)

    def represent(self, images: Tensor) -> list[Tensor]:
        """Of images (B, 3, H, W) each level's experts (N+1, B, n, d)."""
        return self.student.represent(images)

    def neighbourly(self, experts: Sequence[Tensor]) -> Tensor:
        """What neighbours are looked for by, (B, d)."""
        return _standardised(experts[-1].mean(0).mean(1))

    def predict(self, experts: Sequence[Tensor]) -> Tensor:
        """Logits (classifiers, B, classes)."""
        pooled = []
        for router, level in zip(self.routers, experts, strict=True):
            gates = router(level[0], noisy=self.training)
            if gates.dim() == 3:  # the same at every patch: the mean comes first
                pooled.append(torch.einsum("bte,ebd->tbd", gates, level.mean(2)))
            else:
                pooled.append(torch.einsum("bnte,ebnd->tbd", gates, level) / level.shape[2])
        levels = [_standardised(level) for level in pooled]
        rates = len(RATES)
        return self.sweep([levels[-1][:rates], torch.cat([level[rates:] for level in levels], dim=-1)])


Classifier = PlainClassifier | RoutedClassifier


def kinds_of(*, class_token: bool) -> tuple[str, ...]:
    """What the kinds of features are called."""
    if not class_token:
        return "mean of the last block", "means of four blocks"
    return "last block", "four blocks", "last block and mean", "four blocks and mean"


def _standardised(vectors: Tensor) -> Tensor:
    return torch.nn.functional.layer_norm(vectors, vectors.shape[-1:])
