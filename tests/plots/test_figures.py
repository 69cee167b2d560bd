import subprocess
import sys
import warnings

import numpy as np
import pytest

from sakbench.plots import figures
from sakbench.plots.palette import MODELS, model_colours
from sakbench.plots.style import COLUMN, PAGE

TASKS = ["semseg", "parsing", "saliency", "normals", "boundary"]
SUMMARY = {"DINOv2": (11.63, 11.79, 0.99), "random weights": (-0.02, 16.68, 0.0)}
GATES = np.full((4, 5, 3), [0.6, 0.3, 0.1])
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


@pytest.mark.parametrize("width", [COLUMN, PAGE])
def test_gates(width):
    figure = figures.gates(GATES, LEVELS, TASKS, EXPERTS, width=width)
    text = words(figure)
    for expected in (*TASKS, *LEVELS, *EXPERTS, "%", "60"):
        assert expected in text
    ends = [bars[-1].get_x() + bars[-1].get_width() for axes in figure.axes for bars in axes.containers[-1:]]
    assert ends == pytest.approx([1] * 4)
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


@pytest.mark.parametrize(
    "draw",
    [
        lambda: figures.scenes_sheet({}),
        lambda: figures.scenes_sheet({"image": np.zeros((2, 8, 8, 3)), "semseg": np.zeros((1, 8, 8, 3))}),
        lambda: figures.scenes_sheet({"image": np.zeros((2, 8, 8))}),
        lambda: figures.bias_profile({"DINOv2": np.zeros(5)}, TASKS, SUMMARY),
        lambda: figures.gates(GATES, LEVELS, TASKS, ["stem"]),
        lambda: figures.table("t", ["a", "b"], {"row": ["1"]}),
    ],
)
def test_wrong_shapes_are_refused(draw):
    with pytest.raises(ValueError, match=r"is needed|no pictures|1 cells for 2 columns"):
        draw()


def test_a_model_keeps_its_colour_and_no_two_share_one():
    colours = model_colours([*MODELS, "mine", "yours"])
    assert colours["SAM"] == MODELS["SAM"]
    assert len({colours[name] for name in colours if name != "stem"}) == len(colours) - 1  # the stem is the ViT


def test_pyplot_is_left_alone():
    script = "import sys, sakbench.plots.figures\nprint('matplotlib.pyplot' in sys.modules)"
    assert subprocess.check_output([sys.executable, "-c", script], text=True).strip() == "False"
