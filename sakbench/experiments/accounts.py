"""The paper's columns of parameters and MACs, computed from this package's models beside what is printed."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from sakbench.errors import unknown
from sakbench.store import published

if TYPE_CHECKING:
    from sakbench.experiments.weighing import Weight

PARAMETERS, MACS = "params_m", "macs_g"


@dataclass(frozen=True)
class Row:
    """A printed number and what the model gives: millions of parameters, or thousands of millions of MACs per image.

    `computed` follows the paper's convention; `full` and `executed` are there for MACs: see `Macs`. It agrees if it
    rounds to what is printed; otherwise `why` says the reason.
    """

    table: str
    row: str
    quantity: str
    published: float
    computed: float
    agrees: bool
    full: float | None = None
    executed: float | None = None
    why: str = ""


def rows(tables: Sequence[str] = ()) -> list[Row]:
    """The rows of these tables ("19" or "table19"; all if none are named), in the paper's order.

    Rows of models that are not built here (InvPT, TaskPrompter, ...) are left out.
    Raises UserError for a table that has neither parameters nor MACs.
    """
    printed = published.frame()
    known = printed.loc[printed["task"].isin(_QUANTITIES), "table"].unique().tolist()
    names = [name if name.startswith("table") else f"table{name}" for name in tables] or known
    for name in names:
        if name not in known:
            raise unknown("table with parameters or MACs", name, known)
    return [row for name in known if name in names for row in _table(name)]


def left_out(found: Sequence[Row]) -> int:
    """How many rows of the same tables print parameters of models that are not built here."""
    frame = published.frame()
    printed = frame[frame["table"].isin({row.table for row in found}) & frame["task"].isin(_QUANTITIES)]
    ours = {(row.table, row.row) for row in found}
    return len(set(zip(printed["table"], printed["row"], strict=True)) - ours)


# what the published tables call the quantities
_QUANTITIES = {"params_m": PARAMETERS, "trainable_params_m": PARAMETERS, "macs_g": MACS}


def _table(name: str) -> Iterator[Row]:
    from sakbench.experiments.weighing import TABLES  # here, because it imports torch

    printed = published.table(name)
    weights = TABLES[name](printed)
    numbers = printed[printed["task"].isin(_QUANTITIES)]
    for row, quantity, value in zip(numbers["row"], numbers["task"], numbers["value"], strict=True):
        if row in weights:
            yield _row(name, row, _QUANTITIES[quantity], value, weights[row])


def _row(table: str, row: str, quantity: str, printed: float, weight: "Weight") -> Row:
    digits = len(f"{printed:g}".partition(".")[2])
    if quantity == PARAMETERS:
        computed, full, executed = weight.parameters / 1e6, None, None
    else:
        assert weight.macs is not None
        computed, full, executed = (
            value / 1e9 for value in (weight.macs.paper, weight.macs.full, weight.macs.executed)
        )
    agrees = f"{computed:.{digits}f}" == f"{printed:.{digits}f}"
    why = "" if agrees else _WHY.get((table, row, quantity), "")
    return Row(table, row, quantity, printed, computed, agrees, full, executed, why)


_WHY = {
    ("table5", "MLoRE", PARAMETERS): "its authors' configuration for ViT-L; how they counted is not published",
    ("table15", "MLoRE", PARAMETERS): (
        "its authors' configuration for ViT-S; with the second set of heads that their code makes and does not use, it "
        "would agree"
    ),
    ("table21", "Sum over all teachers and student, RADIO", MACS): "the paper adds up its rounded numbers",
}
