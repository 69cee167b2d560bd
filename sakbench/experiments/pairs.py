"""Tables of what models make of a user's own counterfactual pairs, as Figure 6 has them for rendered ones."""

from collections.abc import Callable, Sequence

from sakbench.analysis.quantities import QUANTITIES
from sakbench.experiments.rows import Experiment, Row, pairs
from sakbench.runs.scales import Scale

PREFIX = "pairs:"
_SHOWN = tuple(name for name in QUANTITIES if not name.startswith("flips ") or name == "flips kept")
ALONE = ", norms alone"  # how rows end whose models were asked for no labels


def look_at(name: str, identity: str, count: int, models: Sequence[str], *, heads: bool) -> Experiment:
    """A row for each of the `models` (the paper's names, or backbones), on the pairs of that identity.

    `name` must tell the set from others.
    """

    def build(scale: Scale, seed: int) -> list[Row]:
        return [
            Row(
                model if heads else f"{model}{ALONE}",
                (pairs(scale, seed, scale.encoder(model), identity, count, heads=heads),),
            )
            for model in models
        ]

    return _experiment(name, build)


def stored(name: str) -> Experiment:
    """The table of that name as a store has it: which models are in it, only the store knows."""
    return _experiment(name, lambda scale, seed: [])


def _experiment(name: str, build: Callable[[Scale, int], list[Row]]) -> Experiment:
    title = f"Counterfactual pairs {name}"
    return Experiment(f"{PREFIX}{name}", title, build, baseline="", extras=_SHOWN, own=True)
