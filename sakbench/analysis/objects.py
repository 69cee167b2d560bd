"""Objects seen through frozen features: one vector each, and what a linear classifier makes of them."""

import numpy as np
from numpy.typing import ArrayLike, NDArray
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

Vectors = NDArray[np.float64]

_INVERSE_PENALTY = 0.01  # hundreds of features, and a thousand objects or fewer
_DRAWS = 1000


def object_vectors(features: ArrayLike, share: ArrayLike) -> Vectors:
    """The mean token of each object, (n, d): maps (n, d, h, w) weighted by the share (n, h, w) that it has of a cell.

    Raises `ValueError` for an object that has no share of any cell.
    """
    maps, weights = np.asarray(features, dtype=np.float64), np.asarray(share, dtype=np.float64)
    total = weights.sum((1, 2))
    if not total.all():
        raise ValueError("an object that covers nothing has no vector.")
    return np.einsum("ndhw,nhw->nd", maps, weights) / total[:, None]


def linear_hits(learned: ArrayLike, labels: ArrayLike, asked: ArrayLike, truth: ArrayLike) -> NDArray[np.bool_]:
    """Whether a linear classifier, trained on `learned` (n, d) with `labels` (n,), names each of `asked` rightly, (m,).

    Logistic regression on standardised features, with an L2 penalty.
    """
    classifier = make_pipeline(StandardScaler(), LogisticRegression(C=_INVERSE_PENALTY, max_iter=500))
    classifier.fit(np.asarray(learned), np.asarray(labels))
    return classifier.predict(np.asarray(asked)) == np.asarray(truth)


def interval(hits: ArrayLike, groups: ArrayLike) -> tuple[float, float]:
    """The 95% interval of a mean of `hits` (n,), by a bootstrap over `groups` (n,): scenes, whose objects go together.

    Raises `ValueError` if there are none.
    """
    values, of = np.asarray(hits, dtype=np.float64), np.asarray(groups)
    if not len(values):
        raise ValueError("there is nothing to take an interval of.")
    _, which = np.unique(of, return_inverse=True)
    sums, counts = np.bincount(which, values), np.bincount(which)
    chosen = np.random.default_rng(0).integers(len(sums), size=(_DRAWS, len(sums)))
    means = sums[chosen].sum(1) / counts[chosen].sum(1)
    low, high = np.quantile(means, [0.025, 0.975])
    return float(low), float(high)
