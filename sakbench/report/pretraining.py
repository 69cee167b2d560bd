"""`sakbench pretrain`: mini's backbones trained anew, and what their cards say."""

from pathlib import Path

from sakbench import backbones
from sakbench.errors import unknown
from sakbench.experiments.run import only_writer
from sakbench.report.listings import print_cards
from sakbench.report.output import console
from sakbench.report.progress import PretrainingLines, Rendering


def pretrain(names: list[str], output: Path) -> None:
    """Train mini's backbones anew into a folder, with their cards."""
    shipped = [name for name in backbones.names() if backbones.info(name).weights == "package"]
    for name in names:
        if name not in shipped:
            raise unknown("backbone to pretrain", name, shipped)
    out = console()
    with only_writer(output / "training"):
        from sakbench.training.pretrain import run as pretraining  # here, because it imports torch

        cards = pretraining.pretrain(
            names,
            output,
            checkpoints=output / "training",
            progress=PretrainingLines(out),
            rendering=lambda done, count: Rendering(out)("pretrain", done, count),
        )
    print_cards(out, cards)
