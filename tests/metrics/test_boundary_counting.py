"""From a boundary map to counts and from counts to ODS, OIS and AP."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis.extra.numpy import array_shapes, arrays
from skimage.morphology import thin as other_thin

from sakbench.errors import UserError
from sakbench.metrics import OdsF, boundary


@settings(max_examples=100, deadline=None)
@given(arrays(bool, array_shapes(min_dims=2, max_dims=2, max_side=24)))
def test_thinning_equals_scikit_images(mask):
    thinned = boundary.thin(mask)
    assert np.array_equal(thinned, other_thin(mask))
    assert np.array_equal(boundary.thin(thinned), thinned)


def test_thinning_a_bar_leaves_its_middle_line():
    bar = np.zeros((7, 12), dtype=bool)
    bar[2:5, 2:10] = True
    assert np.argwhere(boundary.thin(bar))[:, 0].tolist() == [3] * boundary.thin(bar).sum()


def blobs(seed, shape=(31, 40)):
    """A smooth random map of 0 to 255."""
    random = np.random.default_rng(seed)
    small = random.random((shape[0] // 4 + 2, shape[1] // 4 + 2))
    return (255 * np.kron(small, np.ones((4, 4)))[: shape[0], : shape[1]]).astype(np.uint8)


def test_counts_equal_threshold_by_threshold():
    prediction, truths = blobs(0), np.stack([blobs(seed) > 200 for seed in (1, 2)])
    found = boundary.counts(prediction, truths[:1], 0.03)
    for k, threshold in enumerate(boundary.THRESHOLDS):
        lines, true = boundary.thin(prediction / 255 >= threshold), boundary.thin(truths[0])
        matched = boundary.match_count(lines, true, 0.03)
        assert [counted[k] for counted in found] == [matched, true.sum(), matched, lines.sum()]


def test_several_annotators_add_recall_and_join_precision():
    prediction, truths = blobs(3), np.stack([blobs(seed) > 200 for seed in (4, 5, 6)])
    cnt_r, sum_r, cnt_p, sum_p = boundary.counts(prediction, truths, 0.03)
    single = [boundary.counts(prediction, truth[None], 0.03) for truth in truths]
    assert np.array_equal(cnt_r, sum(each[0] for each in single))
    assert np.array_equal(sum_r, sum(each[1] for each in single))
    assert np.array_equal(sum_p, single[0][3])
    assert (cnt_p >= np.max([each[2] for each in single], axis=0)).all()
    assert (cnt_p <= np.minimum(cnt_r, sum_p)).all() and (cnt_p < cnt_r).any()
    twice = boundary.counts(prediction, truths[[0, 0]], 0.03)
    assert np.array_equal(twice[2], single[0][2])  # the same annotator again matches the same pixels


def test_a_threshold_is_reached_by_its_own_value():
    prediction = np.array([[153, 0, 51]], dtype=np.uint8)  # 0.6 and 0.2 exactly
    truth = np.ones((1, 1, 3), dtype=bool)
    predicted = boundary.counts(prediction, truth, 0.0)[3]
    assert predicted[[18, 19, 20, 58, 59, 60]].tolist() == [2, 2, 1, 1, 1, 0]
    strictly = boundary.counts(prediction, truth, 0.0, strict=True)[3]
    assert strictly[[18, 19, 20, 58, 59, 60]].tolist() == [2, 1, 1, 1, 0, 0]


def test_thresholds_in_any_order():
    prediction, truth = blobs(7), blobs(8)[None] > 200
    forward = boundary.counts(prediction, truth, 0.02, [0.2, 0.5, 0.9])
    backward = boundary.counts(prediction, truth, 0.02, [0.9, 0.5, 0.2])
    assert all(np.array_equal(a, b[::-1]) for a, b in zip(forward, backward, strict=True))


@pytest.mark.parametrize("mode", boundary.MODES)
@pytest.mark.parametrize("shape", [(1, 8), (8, 1), (1, 1), (9, 11)])
def test_nothing_and_everything(mode, shape):
    nothing, everything = np.zeros(shape, np.uint8), np.full(shape, 255, np.uint8)
    line = boundary.thin(np.ones(shape, dtype=bool))
    assert [c.tolist()[0] for c in boundary.counts(nothing, line[None], 0.1, mode=mode)] == [0, line.sum(), 0, 0]
    assert [c.tolist()[0] for c in boundary.counts(everything, line[None] & False, 0.1, mode=mode)][:3] == [0, 0, 0]
    full = boundary.counts(everything, np.ones((1, *shape), dtype=bool), 0.0, mode=mode)
    assert {(s, p) for _, s, _, p in np.stack(full, axis=-1)} == {(line.sum(),) * 2}
    if mode == "exact":
        assert {(r, p) for r, _, p, _ in np.stack(full, axis=-1)} == {(line.sum(),) * 2}


@pytest.mark.parametrize(
    ("prediction", "truths", "thresholds", "sentence"),
    [
        (np.zeros((3, 4)), np.zeros((1, 3, 4), bool), [0.5], "prediction holds float64, not uint8"),
        (np.zeros((3, 4), np.uint8), np.zeros((3, 4), bool), [0.5], "3 dimensions"),
        (np.zeros((3, 4), np.uint8), np.zeros((1, 3, 4), np.uint8), [0.5], "truths holds uint8, not bool"),
        (np.zeros((3, 4), np.uint8), np.zeros((0, 3, 4), bool), [0.5], "at least one pixel"),
        (np.zeros((3, 4), np.uint8), np.zeros((1, 3, 5), bool), [0.5], "does not fit"),
        (np.zeros((3, 4), np.uint8), np.zeros((1, 3, 4), bool), [], "thresholds are a list"),
        (np.zeros((3, 4), np.uint8), np.zeros((1, 3, 4), bool), [np.nan], "thresholds are a list"),
    ],
)
def test_wrong_maps_are_told(prediction, truths, thresholds, sentence):
    with pytest.raises(UserError, match=sentence):
        boundary.counts(prediction, truths, 0.01, thresholds)


def test_labels_become_edges_as_in_seg2bmap():
    labels = np.zeros((4, 4), dtype=np.uint8)
    labels[2:, 2:] = 7
    edges = boundary.label_edges(labels)
    assert np.argwhere(edges).tolist() == [[1, 1], [1, 2], [1, 3], [2, 1], [3, 1]]
    line = np.zeros((5, 5), dtype=np.uint8)
    line[2] = 255  # a boundary map taken for a label map: its line is doubled
    assert boundary.label_edges(line).sum(axis=0).tolist() == [2] * 5


def test_suppression_keeps_the_ridge_and_fades_the_margin():
    across = np.exp(-(((np.arange(41) - 20) / 3) ** 2))
    ridge = (250 * np.tile(across, (50, 1))).astype(np.uint8)
    kept = boundary.nms(ridge)
    assert (np.flatnonzero(kept[25]) == 20).all() and kept[25, 20] > 200
    assert kept[0, 20] == 0 and 0 < kept[1, 20] < kept[2, 20] < kept[5, 20] == kept[25, 20]


@pytest.mark.parametrize("turn", [np.transpose, np.fliplr, np.flipud])
def test_suppression_turns_with_the_map(turn):
    y, x = np.mgrid[:60, :60]
    ridge = (250 * np.exp(-(((x - 30 - 0.3 * (y - 30)) / 3) ** 2))).astype(np.uint8)
    kept, turned = turn(boundary.nms(ridge)) > 0, boundary.nms(np.ascontiguousarray(turn(ridge))) > 0
    assert 50 <= kept.sum() <= 120
    assert (kept == turned)[6:-6, 6:-6].mean() > 0.995


def test_a_larger_radius_suppresses_more():
    two = np.zeros((40, 40), dtype=np.uint8)
    two[:, 18], two[:, 21] = 250, 120
    assert boundary.nms(two, radius=1)[20, 21] > 0
    assert boundary.nms(two, radius=4)[20, 21] == 0


@pytest.mark.parametrize("shape", [(1, 9), (9, 1), (1, 1), (2, 3)])
def test_suppression_of_tiny_maps(shape):
    assert boundary.nms(np.full(shape, 99, np.uint8)).shape == shape


def test_suppression_refuses_floats_and_no_radius():
    with pytest.raises(UserError, match="float64, not uint8"):
        boundary.nms(np.zeros((5, 5)))
    with pytest.raises(UserError, match="radius"):
        boundary.nms(np.zeros((5, 5), np.uint8), radius=0)


@pytest.mark.parametrize("options", [{}, {"nms_radius": 1, "strict": True}, {"nms_radius": 0, "mode": "seism"}])
def test_the_metric_is_the_functions(options):
    maps, truths = [blobs(seed) for seed in (0, 1)], [blobs(seed) > 200 for seed in (2, 3)]
    metric = OdsF(0.03, **options)
    metric.update(torch.tensor(np.stack(maps)).float() / 255, torch.tensor(np.stack(truths)).byte())
    radius = options.pop("nms_radius", 4)
    counted = [
        np.stack(boundary.counts(boundary.nms(m, radius) if radius else m, t[None], 0.03, **options), axis=-1)
        for m, t in zip(maps, truths, strict=True)
    ]
    assert metric.compute() == pytest.approx(100 * boundary.summarize(counted).ods)


def test_the_metric_refuses_settings_at_once():
    with pytest.raises(UserError, match="did you mean exact"):
        OdsF(0.01, "exat")
    with pytest.raises(UserError, match="share"):
        OdsF(2.0)


def test_a_summary_by_hand():
    # two images, two thresholds: cntR, sumR, cntP, sumP
    counts = np.array([[[8, 10, 8, 16], [4, 10, 4, 4]], [[2, 10, 2, 4], [1, 10, 1, 4]]])
    found = boundary.summarize(counts)
    # pooled: P = 10/20, R = 10/20; then P = 5/8, R = 5/20
    assert found[:4] == pytest.approx((0.5, 1 / 3, 0.5, 0.5))
    # image by image: 2*.5*.8/1.3 = .615 > 2*1*.4/1.4 = .571; 2*.5*.2/.7 > 2*.25*.1/.35
    assert found.ois == pytest.approx(0.5)
    # recall .25 to .5, precision falling from .625 to .5 in 26 steps of .01
    assert found.ap == pytest.approx(26 * (0.625 + 0.5) / 2 / 100)


def test_without_truth_or_prediction():
    assert boundary.summarize([[[0, 0, 0, 5]]])[:4] == (0.0, 0.5, 0.0, 1.0)
    assert boundary.summarize([[[0, 5, 0, 0]]])[:4] == (0.0, 0.5, 1.0, 0.0)


@pytest.mark.parametrize(
    "counts", [np.zeros((0, 9, 4)), np.zeros((9, 4)), np.zeros((2, 9, 3)), [[[3, 2, 0, 0]]], [[[0, 0, -1, 0]]]]
)
def test_impossible_counts_are_told(counts):
    with pytest.raises(UserError, match="counts"):
        boundary.summarize(counts)
