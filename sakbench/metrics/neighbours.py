"""The classes that nearest neighbours vote for."""

import torch
from torch import Tensor

from sakbench.errors import UserError

NEIGHBOURS = 20
TEMPERATURE = 0.07
_PIECE = 2048  # images that are compared at once


def neighbours_classes(queries: Tensor, known: Tensor, labels: Tensor, classes: int, k: int = NEIGHBOURS) -> Tensor:
    """The class of each query (m, d) that its `k` nearest of `known` (n, d), with `labels` (n,), vote for: int64 (m,).

    Vectors are scaled to unit length; a neighbour's vote is exp(cosine / 0.07) (Wu et al. 2018, as in DINO's k-NN).
    Of equal votes the lower class wins. Raises UserError for fewer than one image or a vector that is not finite.
    """
    if not len(known) or not (known.isfinite().all() and queries.isfinite().all()):
        raise UserError("nearest neighbours need images to learn from, and vectors that are finite.")
    known = torch.nn.functional.normalize(known.float(), dim=1)
    found = []
    for piece in torch.nn.functional.normalize(queries.float(), dim=1).split(_PIECE):
        cosines, places = (piece @ known.T).topk(min(k, len(known)), dim=1)
        votes = torch.zeros(len(piece), classes, device=piece.device)
        votes.scatter_add_(1, labels[places].long(), (cosines / TEMPERATURE).softmax(1))
        found.append(votes.argmax(1))
    return torch.cat(found)
