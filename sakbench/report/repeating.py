"""`sakbench repeat`: a stored run done once more, from nothing, and its numbers beside the stored ones."""

from dataclasses import replace
from itertools import zip_longest
from pathlib import Path
from typing import Any

from rich.table import Table

from sakbench.errors import UserError
from sakbench.experiments.rows import Experiment, Row, inputs_today
from sakbench.experiments.run import Interruption
from sakbench.report.output import print_json
from sakbench.report.running import Request, carry_out, output_of, say_stopped, scale_of
from sakbench.runs.scales import Scale
from sakbench.runs.spec import RunSpec
from sakbench.store import RunRecord, open_store

FOLDER = Path("results/repeated")


def repeat(prefix: str, request: Request, *, weights: dict[str, Path], output: Path | None) -> int:
    """Do the run whose id begins with `prefix` once more, with those it starts from, and compare; the exit code.

    `request` names the store that holds it. What is trained goes into a store of its own in `output`, a folder named
    like the run if None. Raises `UserError` for a run that is not there or complete, or that rests on other versions of
    data, weights or metrics than today's.
    """
    former = open_store(request.location, write=False).lookup(prefix)
    if former.status != "done":
        raise UserError(f"run {former.id} is {former.status}, so there are no numbers of it to compare with.")
    spec = RunSpec.from_dict(former.spec)
    if spec.kind == "pairs":
        raise UserError(
            f"run {former.id} looked at pairs, which the store does not hold: `sakbench pairs probe` with their folder"
            " and another --store looks once more."
        )
    scale = scale_of(spec.scale, "" if spec.kind == "distill" else spec.dataset, weights=weights, data=request.data)
    _require_same(spec, former, scale)
    here = output or FOLDER / former.id
    apart = replace(request, store=here / "store.db", runs=here / "runs")
    experiment = Experiment(
        f"repeat {former.id}", f"{former.label}, once more", lambda scale, seed: [Row(former.label, (spec,))]
    )
    try:
        store = carry_out(experiment, scale, apart, [spec])
    except Interruption:
        return say_stopped(apart)
    again = store.find(spec.id) if store else None
    if again is not None:
        _compare(former, again, request)
    return 0


def _require_same(spec: RunSpec, former: RunRecord, scale: Scale) -> None:
    if spec.id != former.id:
        raise UserError(f"the spec stored with run {former.id} is that of run {spec.id}: it cannot be repeated.")
    for one in spec.lineage:
        today = inputs_today(one, scale)
        if one.inputs != today:
            changed = [f"{was} (now {now})" for was, now in zip_longest(one.inputs, today) if was != now]
            commit = f"; it was trained at commit {former.git_commit}" if former.git_commit else ""
            raise UserError(f"run {former.id} rests on other versions than today's, {', '.join(changed)}{commit}.")


def _compare(former: RunRecord, again: RunRecord, request: Request) -> None:
    stored = {m.task: m.value for m in former.metrics}
    lines: list[dict[str, Any]] = [
        {"quantity": m.task, "stored": stored[m.task], "again": m.value} for m in again.metrics if m.task in stored
    ]
    same = all(line["stored"] == line["again"] for line in lines)
    if request.as_json:
        print_json({"run": former.id, "same": same, "numbers": lines})
        return
    table = Table(box=None)
    table.add_column("quantity")
    for heading in ("stored", "again", "difference"):
        table.add_column(heading, justify="right")
    for line in lines:
        difference = line["again"] - line["stored"]
        table.add_row(line["quantity"], f"{line['stored']:.6f}", f"{line['again']:.6f}", f"{difference:+.2g}")
    out = output_of(request)
    out.print(table, highlight=False)
    told = "every number is the stored one, to the last bit" if same else "the numbers differ"
    here, there = (record.gpu or record.machine.get("cpu") for record in (again, former))
    if not same and here != there:
        told = f"the numbers differ, as they do where another processor rounds otherwise: this is {here}"
    where = f"stored at commit {former.git_commit}, {there}, torch {former.versions.get('torch')}"
    out.print(f"\n{told} ({where}).", highlight=False, soft_wrap=True)
