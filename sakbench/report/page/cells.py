"""Cells and heads of the page's tables, which its script sorts."""

from math import isfinite

from sakbench.report.page.markup import Markup, join, tag
from sakbench.report.summary import PROFILE, Measure, digits

DELTA_M = "delta_m"
SIZES = {"params_m": ("size", "M"), "macs_g": ("MACs", "G")}
COMPUTED = {
    DELTA_M: ("Δm", "% ↑"),
    PROFILE["mean"]: ("bias μ", "%"),
    PROFILE["sd"]: ("bias σ", "%"),
    PROFILE["ratio"]: ("bias μ/σ", ""),
}
_SIGNED = {DELTA_M, PROFILE["mean"], PROFILE["ratio"]}


def number(value: float, quantity: str = "") -> str:
    """With its sign where the quantity is a difference."""
    text = f"{value:+z.2f}" if quantity in _SIGNED else f"{value:.{digits(quantity)}f}"
    return text.replace("-", "−")


def words_head(name: str) -> Markup:
    """The head of a column of words."""
    return _head(name, "", "ascending")


def number_head(name: str, below: str = "", *, better: str = "") -> Markup:
    """The head of a column of numbers; `better` is higher, lower or neither. The best, or the largest, comes first."""
    return _head(name, below, "ascending" if better == "lower" else "descending", "number", better)


def task_head(task: str, metric: str, higher: bool | None) -> Markup:
    """The head of a task's column: its name, metric and direction, if one is better."""
    arrow, better = {True: (" ↑", "higher"), False: (" ↓", "lower"), None: ("", "")}[higher]
    return number_head(task.replace("_", " "), f"{metric}{arrow}", better=better)


def computed_head(quantity: str) -> Markup:
    """The head of Δm's column, or of one of the bias profile's, in which nothing is best."""
    return number_head(*COMPUTED[quantity], better="higher" if quantity == DELTA_M else "")


def _head(name: str, below: str, first: str, kind: str = "", better: str = "") -> Markup:
    button = tag("button", tag("span", name), tag("small", below) if below else "", type="button")
    return tag(
        "th",
        button,
        scope="col",
        aria_sort="none",
        class_=kind or None,
        data_first=first,
        data_better=better or None,
    )


def measured(
    measure: Measure | None,
    index: int | None,
    quantity: str = "",
    *,
    best: bool = False,
    paper: float | None = None,
) -> Markup:
    """A measured number with its spread over seeds, which opens its provenance; the paper's stands below."""
    parts, value, spread = [], None, None
    if measure is not None and isfinite(measure.mean):
        value, spread = measure.mean, measure.spread
        noise = "" if spread is None else tag("span", f" ±{spread:.{digits(quantity)}f}", class_="spread")
        parts.append(tag("button", number(value, quantity), noise, type="button", data_number=index))
    if paper is not None:
        parts.append(tag("span", f"paper {number(paper, quantity)}", class_="paper"))
    kind = "number best" if best else "number"
    return tag("td", *parts, class_=kind, data_value=value, data_spread=spread)


def plain(value: float | None) -> Markup:
    """A whole number that needs no provenance, or none."""
    return tag("td", "" if value is None else f"{value:,.0f}", class_="number", data_value=value)


def published(value: float | None, quantity: str = "") -> Markup:
    """A published number, or none."""
    return tag("td", "" if value is None else number(value, quantity), class_="number", data_value=value)


def table(about: str, heads: list[Markup], rows: list[Markup]) -> Markup:
    """A table that can be sorted, in a box of its own in which it scrolls; `about` names it for those who hear it."""
    content = tag("table", tag("thead", tag("tr", *heads)), tag("tbody", *rows))
    return tag("div", content, class_="scroll", tabindex="0", role="region", aria_label=about)


def name_cell(*content: str) -> Markup:
    """The first cell of a line, which names it."""
    return tag("th", join(*content), scope="row")
