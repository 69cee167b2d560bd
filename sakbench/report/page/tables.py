"""The stored tables: measured numbers with their spread, the published ones below."""

from collections.abc import Iterator

from sakbench.report.page import cells, provenance
from sakbench.report.page.content import Part
from sakbench.report.page.markup import Markup, join, tag
from sakbench.report.page.provenance import Numbers
from sakbench.report.summary import FACTS, PROFILE, VIT_FREEZE, Line
from sakbench.report.terminal import caption_of, columns_of, count, leaders
from sakbench.tasks.names import TASKS


def section(part: Part, anchor: str, numbers: Numbers) -> Markup:
    """A table with its title and what one must know to read it."""
    summary = part.summary
    tasks = columns_of(summary)
    facts = FACTS if summary.experiment.facts else ()
    computed = [cells.DELTA_M] if summary.experiment.baseline else []
    computed += PROFILE.values() if any(line.profile for line in summary.lines) else []
    heads = [
        cells.words_head("row"),
        *(cells.number_head(fact.replace("_", " ")) for fact in facts),
        *(cells.task_head(task, summary.metrics[task], summary.higher_is_better[task]) for task in tasks),
        *map(cells.computed_head, computed),
    ]
    best = {quantity: leaders(summary, quantity) for quantity in (*tasks, cells.DELTA_M)}
    rows = [
        tag(
            "tr",
            cells.name_cell(line.row),
            *(_fact(line, fact) for fact in facts),
            *_cells(part, line, tasks, computed, best, numbers),
            class_="note" if line.note else None,
        )
        for line in summary.lines
    ]
    about = [tag("p", sentence) for sentence in (*caption_of(summary).splitlines(), *_sources(part))]
    title = summary.experiment.title
    return tag(
        "section", tag("h3", title), cells.table(title, heads, rows), tag("div", *about, class_="about"), id=anchor
    )


def _sources(part: Part) -> Iterator[str]:
    """Where the numbers named paper are printed."""
    if part.sources:
        most, *others = sorted(part.sources, key=lambda place: -len(part.sources[place]))
        yield "; ".join([f"paper: {most}", *(f"{', '.join(part.sources[place])}: {place}" for place in others)]) + "."


def _cells(
    part: Part, line: Line, tasks: list[str], computed: list[str], best: dict[str, set[str]], numbers: Numbers
) -> Iterator[Markup]:
    index = numbers.measured(part.row(line.row))
    own = [index[task] for task in TASKS if task in index]
    where = f"{line.row} · {part.key}"
    for task in tasks:
        is_best = line.row in best[task]
        yield cells.measured(
            line.measured.get(task), index.get(task), task, best=is_best, paper=line.published.get(task)
        )
    for quantity in computed:
        if quantity == cells.DELTA_M:
            measure, title, how = line.delta_m, f"Δm of {where}", provenance.GAIN
            reference = part.frame[part.frame["baseline"]]
        else:
            measure = next((line.profile[key] for key in line.profile if PROFILE[key] == quantity), None)
            title, how, reference = f"bias profile of {where}", provenance.PROFILE, part.row(VIT_FREEZE)
        number = numbers.computed(title, how, [*own, *numbers.measured(reference).values()]) if measure else None
        is_best = quantity == cells.DELTA_M and line.row in best[quantity]
        yield cells.measured(measure, number, quantity, best=is_best, paper=line.published.get(quantity))


def _fact(line: Line, fact: str) -> Markup:
    """What a row's student was distilled on, here and in the paper."""
    here, paper = line.facts.get(fact), line.published.get(fact)
    below = "" if paper is None else tag("span", f"paper {count(paper)}", class_="paper")
    return tag("td", join(count(here), below), class_="number", data_value=here)
