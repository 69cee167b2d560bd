"""What `sakbench account` prints: parameters and MACs of the paper's models, computed, beside the printed numbers."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from rich import box
from rich.table import Table

from sakbench.report.output import console, print_json

if TYPE_CHECKING:
    from sakbench.experiments.accounts import Row

_QUANTITIES = {"params_m": "parameters, M", "macs_g": "MACs, G"}
_CONVENTIONS = (
    "paper's convention: linears and convolutions, and 4 per element of LayerNorm and BatchNorm; the cls token counts, "
    "SAM sees 1024 pixels; no attention products, interpolation, final norms or aligners.\n"
    "full: every multiplication, attention's two products and interpolation too, of the model as the paper writes it; "
    "what the code here executes for it, which is less where there are heads, is in --json."
)


def account(*, as_json: bool, tables: Sequence[str] = ()) -> None:
    """Print the account of these tables ("19" or "table19"), or of all.

    As JSON: a list of {table, row, quantity ("params_m" or "macs_g"), published, computed, agrees}, for MACs with
    `full` and `executed`, and with `why` where it does not agree.
    Raises UserError for a table that has neither parameters nor MACs.
    """
    from sakbench.experiments.accounts import left_out, rows

    found = rows(tables)
    if as_json:
        print_json([_entry(row) for row in found])
        return
    out = console()
    out.print(_layout(found))
    agreeing, others = sum(row.agrees for row in found), left_out(found)
    missing = f"; {others} more rows of these tables are of models that are not built here" if others else ""
    out.print(
        f"{agreeing} of {len(found)} numbers agree to the printed digit{missing}.\n{_CONVENTIONS}",
        style="dim",
        highlight=False,
    )


def _entry(row: "Row") -> dict[str, Any]:
    entry: dict[str, Any] = {
        "table": row.table,
        "row": row.row,
        "quantity": row.quantity,
        "published": row.published,
        "computed": round(row.computed, 3),
        "agrees": row.agrees,
    }
    if row.full is not None and row.executed is not None:
        entry |= {"full": round(row.full, 3), "executed": round(row.executed, 3)}
    return entry | ({"why": row.why} if row.why else {})


def _layout(found: Sequence["Row"]) -> Table:
    table = Table(box=box.HORIZONTALS, padding=(0, 1, 0, 0), pad_edge=False)
    table.add_column("table")
    table.add_column("row", overflow="fold", min_width=14)
    table.add_column("quantity")
    for heading in ("published", "computed\n(paper's)", "full"):
        table.add_column(heading, justify="right")
    table.add_column("")
    table.add_column("why not", overflow="fold")
    last = ""
    for row in found:
        if last and row.table != last:
            table.add_section()
        last = row.table
        table.add_row(
            row.table.removeprefix("table"),
            row.row,
            _QUANTITIES[row.quantity],
            f"{row.published:g}",
            f"{row.computed:.2f}",
            "" if row.full is None else f"{row.full:.2f}",
            "[green]✓[/green]" if row.agrees else "[red]✗[/red]",
            row.why,
        )
    return table
