"""The picture that README opens with: scenes with their ground truth, Table 7 and the bias profile, from a store.

python studies/overview.py --store results/mini.jsonl --output results/overview.png
"""

from collections.abc import Sequence
from io import BytesIO

import common
import pandas as pd
from matplotlib.figure import Figure
from PIL import Image
from scenes import sheet

from sakbench.analysis.profile import mean_profiles, row_profiles
from sakbench.experiments import tables
from sakbench.plots import figures
from sakbench.report.summary import Measure, Summary, summarize
from sakbench.report.terminal import leaders
from sakbench.runs.scales import MINI
from sakbench.store import published

DPI = 160


def table(summary: Summary) -> Figure:
    best = {task: leaders(summary, task) for task in (*MINI.tasks, "delta_m")}
    columns = [
        *(f"{task} {'↑' if summary.higher_is_better[task] else '↓'}" for task in MINI.tasks),
        "Δm % ↑",
        "paper Δm",
    ]
    rows, bold = {}, []
    for line in summary.lines:
        cells = [line.measured[task] for task in MINI.tasks]
        paper = line.published.get("delta_m")
        rows[line.row] = [*map(text, cells), text(line.delta_m, "+"), "" if paper is None else f"{paper:+.2f}"]
        bold.append([*(line.row in best[task] for task in MINI.tasks), line.row in best["delta_m"], False])
    metrics = ", ".join(f"{task} {summary.metrics[task]}" for task in MINI.tasks)
    others = "".join(f"; the paper's {task} is {metric}" for task, metric in summary.other_metrics.items())
    note = (
        f"{metrics}{others}\n"
        f"measured at scale {summary.scale.name} on {summary.scale.dataset}, mean ± standard deviation over seeds"
        f" {', '.join(map(str, summary.seeds))}; bold: best within noise\n"
        "rendered scenes and small models: compare rows with each other, not with the paper's numbers"
    )
    return figures.table(summary.experiment.title, columns, rows, bold=bold, note=note)


def text(measure: Measure | None, sign: str = "") -> str:
    if measure is None:
        return ""
    return f"{measure.mean:{sign}z.2f}" + ("" if measure.spread is None else f" ±{measure.spread:.2f}")


def profile(frame: pd.DataFrame) -> Figure:
    frozen = frame[(frame["table"] == "table12") & frame["row"].str.endswith(" Freeze")]
    seeds = row_profiles(frozen)
    improvement, over_seeds = {}, {}
    for line in mean_profiles(frozen).to_dict("records"):
        row = line["row"]
        if row != "ViT Freeze":
            model = row.removesuffix(" Freeze")
            improvement[model] = seeds.loc[seeds["row"] == row, list(MINI.tasks)].to_numpy()
            over_seeds[model] = (line["bias_mean"], line["bias_sd"], line["bias_ratio"])
    figure = figures.bias_profile(improvement, MINI.tasks, over_seeds, reference="the frozen ViT")
    figure.suptitle("Bias profile of frozen backbones · bars are means, dots are seeds", fontsize=9)
    return figure


def stack(parts: list[Figure]) -> Image.Image:
    """The figures below each other, centred on white."""
    images = []
    for figure in parts:
        buffer = BytesIO()
        figure.savefig(buffer, format="png", dpi=DPI)
        images.append(Image.open(buffer).convert("RGB"))
    page = Image.new("RGB", (max(i.width for i in images), sum(i.height for i in images) + 30 * len(images)), "white")
    top = 0
    for image in images:
        page.paste(image, ((page.width - image.width) // 2, top))
        top += image.height + 30
    return page


def study(options: common.Options) -> Image.Image:
    numbers = common.frame(options.store)
    summary = summarize(tables.get("table7"), numbers, published.frame())
    return stack([sheet(), table(summary), profile(numbers)])


def main(words: Sequence[str] | None = None) -> None:
    common.finish(common.parser(__doc__, "results/overview.png"), study, lambda page, output: page.save(output), words)


if __name__ == "__main__":
    main()
