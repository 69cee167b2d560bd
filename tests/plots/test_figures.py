import subprocess
import sys
import warnings

import numpy as np
import pytest
from matplotlib.container import BarContainer

from sakbench.plots import figures
from sakbench.plots.palette import MODELS, model_colours
from sakbench.plots.style import COLUMN, PAGE

TASKS = ["semseg", "parsing", "saliency", "normals", "boundary"]
SUMMARY = {"DINOv2": (11.63, 11.79, 0.99), "random weights": (-0.02, 16.68, 0.0)}
GATES = {
    "pascal": {task: np.array([[[0.6, 0.3, 0.1]] * 4, [[0.8, 0.1, 0.1]] * 4]) for task in TASKS},
    "nyud": {"depth": np.full((1, 4, 3), [0.5, 0.2, 0.3])},
}
EXPERTS = ["stem", "DINOv2", "SAM"]
LEVELS = ["level 1", "level 2", "level 3", "level 4"]


def rng():
    return np.random.default_rng(0)


def drawn(figure):
    """The figure's pixels; a warning while it is drawn is an error."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg

    with warnings.catch_warnings():
        warnings.simplefilter("error")
        canvas = FigureCanvasAgg(figure)
        canvas.draw()
    return np.asarray(canvas.buffer_rgba())[..., :3]


def words(figure):
    drawn(figure)
    return "\n".join(text.get_text() for text in figure.findobj(lambda part: hasattr(part, "get_text")))


def fits(figure):
    """Whether nothing reaches over the figure's edge by more than a hundredth of an inch."""
    drawn(figure)
    left, bottom, right, top = figure.get_tightbbox().extents
    width, height = figure.get_size_inches()
    return min(left, bottom) > -0.01 and right < width + 0.01 and top < height + 0.01


@pytest.mark.parametrize("width", [COLUMN, PAGE])
@pytest.mark.parametrize("seeds", [1, 3])
def test_bias_profile(width, seeds):
    improvement = {model: rng().normal(size=(seeds, 5)) * 10 for model in SUMMARY}
    figure = figures.bias_profile(improvement, TASKS, SUMMARY, width=width)
    text = words(figure)
    for expected in (*TASKS, "over ViT (%)", "DINOv2   μ +11.6   σ 11.8   μ/σ +0.99", "μ 0.0   σ 16.7   μ/σ 0.00"):
        assert expected in text
    bars = figure.axes[0].containers[0]
    assert [bar.get_height() for bar in bars] == pytest.approx(improvement["DINOv2"].mean(0))
    dots = [points for points in figure.axes[0].collections if len(points.get_offsets()) == seeds * 5]
    assert len(dots) == (2 if seeds > 1 else 0)
    assert fits(figure)


def test_a_radar_joins_the_means():
    improvement = {model: rng().normal(size=(3, 5)) * 10 for model in SUMMARY}
    figure = figures.radar(improvement, TASKS, SUMMARY)
    assert "random weights   μ 0.0" in words(figure)
    lines = {line.get_label(): line for line in figure.axes[0].lines}
    joined = next(line for label, line in lines.items() if label.startswith("DINOv2")).get_ydata()
    mean = improvement["DINOv2"].mean(0)
    assert joined == pytest.approx([*mean, mean[0]])
    assert fits(figure)


def test_gates():
    figure = figures.gates(GATES, LEVELS, EXPERTS)
    text = words(figure)
    for expected in (*TASKS, *LEVELS, *EXPERTS, "pascal", "nyud", "%"):
        assert expected in text
    pascal, nyud = figure.axes[0], figure.axes[4]
    stem = bars_of(pascal)["stem"]
    assert [bar.get_width() for bar in stem] == pytest.approx([70] * 5)
    (whisker,) = [part for part in pascal.collections if len(part.get_segments()) == 5][:1]
    assert np.ptp(whisker.get_segments()[0][:, 0]) / 2 == pytest.approx(100 * np.std([0.6, 0.8], ddof=1))
    assert [bars_of(nyud)[expert][0].get_width() for expert in EXPERTS] == pytest.approx([50, 20, 30])
    assert fits(figure)


def bars_of(axes):
    return {bars.get_label(): bars for bars in axes.containers if isinstance(bars, BarContainer)}


def test_curves():
    curve = figures.Curve([25, 50, 100], [1.0, 3, 2], [0.1, float("nan"), 0.3])
    block = {"semseg mIoU (%)": {"SAK": curve, "Theia": figures.Curve([25, 100], [0.0, 1])}, "Δm (%)": {"SAK": curve}}
    figure = figures.curves({"measured": block, "published": block}, "labelled images (%)")
    text = words(figure)
    for expected in ("measured", "published", "semseg mIoU (%)", "Δm (%)", "labelled images (%)", "SAK", "Theia"):
        assert expected in text
    sak, theia = figure.axes[0].containers
    assert sak.lines[0].get_xdata().tolist() == [25, 50, 100] and sak.lines[0].get_ydata().tolist() == [1, 3, 2]
    assert np.ptp(sak.lines[2][0].get_segments()[0][:, 1]) / 2 == pytest.approx(0.1)
    assert theia.lines[0].get_ydata().tolist() == [0, 1]
    assert fits(figure)


def test_methods():
    sak = figures.Gains({"semseg": 2.0, "depth": -1.0}, 0.5, {"semseg": 0.2, "depth": 0.4}, 0.3)
    names = [*"abcdefghij"]
    rows = {name: figures.Gains({"semseg": 0.0, "depth": 1.0}, 0.5) for name in names}
    figure = figures.methods({"pascal": {**rows, "SAK": sak}, "nyud": {"SAK": sak}})
    text = words(figure)
    for expected in ("pascal", "nyud", "semseg", "depth", "SAK  +0.5 ± 0.3", "a  +0.50", "(%)"):
        assert expected in text
    drawn_sak = figure.axes[0].containers[-1]
    assert list(drawn_sak.lines[0].get_ydata()) == [2, -1]
    spreads = [np.ptp(segment[:, 1]) / 2 for segment in drawn_sak.lines[2][0].get_segments()]
    assert spreads == pytest.approx([0.2, 0.4])
    looks = {(dots.lines[0].get_color(), dots.lines[0].get_marker()) for dots in figure.axes[0].containers}
    assert len(looks) == len(names) + 1
    assert fits(figure)


def test_similarity():
    cosines = {"measured": {"no TSAP": ([0.9, 0.8], [0.01, 0.02]), "TSAP": ([0.95, 0.85], None)}}
    cka = rng().random((4, 3, 3))
    figure = figures.similarity(cosines, ["DINOv2", "SAM"], cka, ["ViT", "DINOv2", "SAM"], LEVELS, heading="CKA")
    text = words(figure)
    for expected in ("measured", "no TSAP", "TSAP", "DINOv2", "SAM", "cosine", *LEVELS, "CKA", f"{cka[2, 0, 1]:.2f}"):
        assert expected in text
    assert [bar.get_height() for bar in bars_of(figure.axes[0])["no TSAP"]] == pytest.approx([0.9, 0.8])
    maps = [axes.images[0].get_array() for axes in figure.axes if axes.images]
    assert np.allclose(maps[:4], cka)
    assert fits(figure)


def test_a_comparison_shows_the_pictures():
    red, blue = np.zeros((2, 8, 8, 3), np.uint8)
    red[..., 0], blue[..., 2] = 255, 255
    blocks = {"scene 1": {"semseg": [red, blue], "depth": [blue, None]}}
    figure = figures.comparison_sheet(["truth", "SAK"], blocks, {"scene 1": {"person": "red"}})
    text = words(figure)
    for expected in ("truth", "SAK", "scene 1", "semseg", "depth", "person"):
        assert expected in text
    shown = [axes.images[0].get_array() if axes.images else None for axes in figure.axes]
    assert all(np.array_equal(one, other) for one, other in zip(shown[:3], (red, blue, blue), strict=True))
    assert shown[3] is None
    assert fits(figure)


def test_scenes_sheet_shows_the_pictures():
    red = np.zeros((2, 8, 8, 3), np.uint8)
    red[..., 0] = 255
    blue = np.zeros((2, 4, 4, 3), np.uint8)
    blue[..., 2] = 255
    figure = figures.scenes_sheet({"image": red, "semseg": blue}, width=COLUMN)
    pixels = drawn(figure)
    height, width = pixels.shape[:2]
    assert (pixels[height // 4, width // 4] == [255, 0, 0]).all()
    assert (pixels[3 * height // 4, 3 * width // 4] == [0, 0, 255]).all()
    assert "image" in words(figure)


def test_table():
    rows = {"Multi-task baseline": ["76.8 ±0.1", "-4.04"], "SAK": ["81.7", "-0.03"]}
    figure = figures.table("Table 7", ["semseg", "Δm"], rows, bold=[[0, 0], [0, 1]], note="scale mini")
    text = words(figure)
    for expected in ("Table 7", "Multi-task baseline", "76.8 ±0.1", "Δm", "scale mini"):
        assert expected in text
    bold = [t.get_text() for t in figure.axes[0].texts if t.get_weight() == "bold"]
    assert bold == ["Table 7", "-0.03"]


@pytest.mark.parametrize("name", ["SAK", "random weights at SAM's resolution, frozen, and more of the kind"])
@pytest.mark.parametrize("note", ["", "short", "long " * 40 + "\nand another line"])
def test_no_text_of_a_table_touches_another(name, note):
    rows = {name: ["76.8 ±0.1", "-4.04 ±0.12"], "ViT": ["1", "2"]}
    figure = figures.table("A title", ["semseg", "Δm"], rows, bold=np.ones((2, 2)), note=note)
    assert fits(figure)
    boxes = [text.get_window_extent() for text in figure.axes[0].texts if text.get_text()]
    assert not any(a.overlaps(b) for number, a in enumerate(boxes) for b in boxes[:number])


def test_points_stand_at_their_values_with_their_intervals():
    models = {"ViT": ([40, 50], [[30, 45], [48, 53]]), "SAM": ([60, 55], [[50, 70], [50, 60]])}
    figure = figures.points(["small", "large"], models, ylabel="right (%)", reference=(5, "chance"))
    assert fits(figure)
    for (values, ends), container in zip(models.values(), figure.axes[0].containers, strict=True):
        line, _, (bars,) = container
        assert list(line.get_ydata()) == values
        assert [sorted(bar[:, 1]) for bar in bars.get_segments()] == ends


def a_view(rng, models, *, predicted):
    """A pair of 16 x 16 pixels with maps of 4 x 4 tokens that cover three quarters of it."""
    pictures = rng.integers(0, 255, (6, 16, 16, 3), dtype=np.uint8)
    mask = np.zeros((16, 16), np.uint8)
    mask[4:10, 4:10] = 1
    marked = np.zeros((4, 4), bool)
    marked[1, 2] = True
    maps = {
        name: figures.Maps(
            *rng.random((3, 4, 4)),
            (marked, ~marked),
            tuple(pictures[4:]) if predicted else None,
            (0.75, 0.75),
        )
        for name in models
    }
    return figures.View(pictures[0], pictures[1], mask, (pictures[2], pictures[3]), maps)


@pytest.mark.parametrize("predicted", [True, False])
def test_norm_maps_share_a_scale_between_the_two_pictures(predicted):
    rng = np.random.default_rng(0)
    views = [a_view(rng, ("ViT", "SAM"), predicted=predicted) for _ in range(2)]
    figure = figures.norm_maps(views, ("cat", r"$\frac$"), {"cat": "red", "dog": "blue"} if predicted else {})
    assert fits(figure)
    columns = 5 if predicted else 3
    for part, view in zip(figure.subfigs, views, strict=True):
        grid = np.array(part.axes[: 3 * columns]).reshape(3, columns)
        assert [axes.get_title() for axes in grid[0, :3]] == ["cat", r"$\frac$", "difference"]
        for (before, after, change, *others), maps in zip(grid[1:], view.models.values(), strict=True):
            both = np.stack([maps.before, maps.after])
            assert before.images[0].get_clim() == after.images[0].get_clim() == (both.min(), both.max())
            assert change.images[0].get_clim() == (0, maps.change.max())
            assert np.array_equal(change.images[0].get_array(), maps.change)
            assert list(before.images[0].get_extent()) == [-0.5, 11.5, 11.5, -0.5]  # three quarters of 16 pixels
            (mark,) = before.collections[-1].get_offsets()
            assert mark.tolist() == pytest.approx([2.5 * 3 - 0.5, 1.5 * 3 - 0.5])  # the middle of its cell
            assert len(after.collections[-1].get_offsets()) == 15 and len(others) == columns - 3


@pytest.mark.parametrize(
    "draw",
    [
        lambda: figures.scenes_sheet({}),
        lambda: figures.scenes_sheet({"image": np.zeros((2, 8, 8, 3)), "semseg": np.zeros((1, 8, 8, 3))}),
        lambda: figures.scenes_sheet({"image": np.zeros((2, 8, 8))}),
        lambda: figures.bias_profile({"DINOv2": np.zeros(5)}, TASKS, SUMMARY),
        lambda: figures.radar({"DINOv2": np.zeros(5)}, TASKS, SUMMARY),
        lambda: figures.gates(GATES, LEVELS, ["stem"]),
        lambda: figures.curves({"a": {"b": {"SAK": figures.Curve([1, 2], [1])}}}, "x"),
        lambda: figures.methods({"pascal": {}}),
        lambda: figures.similarity({}, ["SAM"], np.zeros((2, 2)), ["ViT"], LEVELS),
        lambda: figures.similarity({"m": {"TSAP": ([1, 2], None)}}, ["SAM"], np.zeros((4, 1, 1)), ["ViT"], LEVELS),
        lambda: figures.comparison_sheet(["truth"], {"scene": {"semseg": []}}),
        lambda: figures.comparison_sheet(["truth"], {}),
        lambda: figures.points(["small", "large"], {"SAM": ([1.0], [[0, 2]])}, ylabel="y"),
        lambda: figures.norm_maps([], ("cat", "dog")),
        lambda: figures.norm_maps(
            [a_view(np.random.default_rng(0), ("ViT",), predicted=asked) for asked in (True, False)], ("cat", "dog")
        ),
        lambda: figures.table("t", ["a", "b"], {"row": ["1"]}),
    ],
)
def test_wrong_shapes_are_refused(draw):
    with pytest.raises(ValueError, match=r"is needed|are needed|no pictures|1 cells for 2 columns"):
        draw()


def test_a_model_keeps_its_colour_and_no_two_share_one():
    colours = model_colours([*MODELS, "mine", "yours"])
    assert colours["SAM"] == MODELS["SAM"]
    assert len({colours[name] for name in colours if name != "stem"}) == len(colours) - 1  # the stem is the ViT


def test_pyplot_is_left_alone():
    script = "import sys, sakbench.plots.figures\nprint('matplotlib.pyplot' in sys.modules)"
    assert subprocess.check_output([sys.executable, "-c", script], text=True).strip() == "False"
