"""Mode `seism`: a matching with the random outlier edges that make MATLAB's solver lose a pair now and then."""

import numpy as np

from sakbench.metrics.boundary.compiled import compiled

OUTLIERS = 6  # edges that a pixel has to randomly drawn outliers


@compiled
def with_outliers(rows, start, columns, costs, true_pixels, outlier_cost, random):
    """The graph of real pairs and outlier edges, as compressed rows: start, columns, costs, number of true pixels.

    `rows` are the predicted pixels that have a neighbour; of the true ones those with a neighbour take part. The
    graph's rows are these predicted pixels, then an outlier for each true one; its columns are the true pixels, then
    an outlier for each predicted one. Each pixel reaches six random outliers of its own kind, each outlier six of the
    other side, at `outlier_cost`: what has no pair must find one of those, and where the draw leaves too few, a pair
    is given up. `random` is a NumPy generator.
    """
    taken = np.full(true_pixels, -1, dtype=np.int32)
    n_true = 0
    n_pairs = 0
    for i in range(len(rows)):
        for k in range(start[rows[i]], start[rows[i] + 1]):
            n_pairs += 1
            if taken[columns[k]] < 0:
                taken[columns[k]] = n_true
                n_true += 1
    n_predicted = len(rows)
    per_predicted = min(OUTLIERS, n_predicted)
    per_true = min(OUTLIERS, n_true)
    per_outlier = min(OUTLIERS, n_predicted)

    drawn_by_true = np.empty((n_true, per_true), dtype=np.int32)
    asked = np.zeros(n_true + 1, dtype=np.int32)
    for j in range(n_true):
        _draw(random, n_true, drawn_by_true[j])
        for k in range(per_true):
            asked[drawn_by_true[j, k] + 1] += 1
    n_rows = n_predicted + n_true
    n_edges = n_pairs + n_predicted * per_predicted + n_true * (per_true + per_outlier)
    new_start = np.zeros(n_rows + 1, dtype=np.int32)
    new_columns = np.empty(n_edges, dtype=np.int32)
    new_costs = np.full(n_edges, outlier_cost, dtype=np.int32)
    draw = np.empty(per_predicted, dtype=np.int32)
    place = 0
    for i in range(len(rows)):
        for k in range(start[rows[i]], start[rows[i] + 1]):
            new_columns[place] = taken[columns[k]]
            new_costs[place] = costs[k]
            place += 1
        _draw(random, n_predicted, draw)
        for k in range(per_predicted):
            new_columns[place] = n_true + draw[k]
            place += 1
        new_start[i + 1] = place
    for j in range(n_true):
        new_start[n_predicted + j + 1] = new_start[n_predicted + j] + asked[j + 1] + per_outlier
    fill = new_start[n_predicted:n_rows].copy()
    for j in range(n_true):
        for k in range(per_true):
            outlier = drawn_by_true[j, k]
            new_columns[fill[outlier]] = j
            fill[outlier] += 1
    draw = np.empty(per_outlier, dtype=np.int32)
    for j in range(n_true):
        _draw(random, n_predicted, draw)
        for k in range(per_outlier):
            new_columns[fill[j]] = n_true + draw[k]
            fill[j] += 1
    return new_start, new_columns, new_costs, n_true


@compiled
def _draw(random, n, out):
    """Fill `out` with different whole numbers below `n`."""
    for k in range(len(out)):
        again = True
        while again:
            out[k] = random.integers(0, n)
            again = False
            for j in range(k):
                again = again or out[j] == out[k]
