"""Depth image by image, and what nearest neighbours vote for: by hand and against plain loops."""

import math

import pytest
import torch

from sakbench.errors import UserError
from sakbench.metrics import ImageRMSE, neighbours_classes


def test_each_image_has_an_error_of_its_own():
    metric = ImageRMSE()
    target = torch.tensor([[[1.0, 2.0], [0.0, 12.0]], [[5.0, 255.0], [0.0, 0.0]], [[0.0, 0.0], [255.0, 11.0]]])
    predicted = torch.tensor([[[4.0, 6.0], [9.0, 9.0]], [[30.0, 1.0], [1.0, 1.0]], [[1.0, 1.0], [1.0, 1.0]]])
    metric.update(predicted, target)
    # sqrt((9 + 16) / 2), and 10 - 5 since a prediction ends at 10 m; the third image has no valid pixel
    assert metric.compute() == pytest.approx((math.sqrt(12.5) + 5) / 2)
    parts = [ImageRMSE(), ImageRMSE()]
    for part, rows in zip(parts, (slice(1), slice(1, None)), strict=True):
        part.update(predicted[rows], target[rows])
    parts[0].merge(parts[1])
    assert parts[0].compute() == pytest.approx(metric.compute())


def test_an_error_that_is_no_number_is_told():
    metric = ImageRMSE()
    metric.update(torch.full((1, 2, 2), math.nan), torch.ones(1, 2, 2))
    with pytest.raises(UserError, match="not finite"):
        metric.compute()


def test_neighbours_vote_with_their_likeness():
    generator = torch.Generator().manual_seed(0)
    known, queries = torch.randn(40, 6, generator=generator), torch.randn(15, 6, generator=generator)
    labels = torch.randint(4, (40,), generator=generator)
    found = neighbours_classes(queries, known, labels, 4, k=5)
    for query, answer in zip(queries, found.tolist(), strict=True):
        cosines = [float(query @ one / (query.norm() * one.norm())) for one in known]
        nearest = sorted(range(40), key=lambda row: -cosines[row])[:5]
        votes = [sum(math.exp(cosines[row] / 0.07) for row in nearest if labels[row] == c) for c in range(4)]
        assert answer == max(range(4), key=votes.__getitem__)
    torch.testing.assert_close(neighbours_classes(known * 7, known, labels, 4, k=1), labels)


def test_neighbours_need_vectors_that_are_finite():
    with pytest.raises(UserError, match="finite"):
        neighbours_classes(torch.full((1, 2), math.nan), torch.ones(3, 2), torch.zeros(3), 2)
