"""`sakbench pretrain`: mini's backbones trained anew, and what their cards say."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from filelock import FileLock, Timeout

from sakbench import backbones
from sakbench.errors import UserError, unknown
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
    with _only_writer(output / "training"):
        from sakbench.training.pretrain import run as pretraining  # here, because it imports torch

        cards = pretraining.pretrain(
            names,
            output,
            checkpoints=output / "training",
            progress=PretrainingLines(out),
            rendering=lambda done, count: Rendering(out)("pretrain", done, count),
        )
    print_cards(out, cards)


@contextmanager
def _only_writer(folder: Path) -> Iterator[None]:
    """Keep a second command from pretraining in the same folder."""
    lock = FileLock(folder / ".lock")
    try:
        folder.mkdir(parents=True, exist_ok=True)
        lock.acquire(timeout=0)
    except Timeout:
        raise UserError(f"another sakbench is training in {folder}: wait for it, or choose another folder.") from None
    except OSError as error:
        raise UserError(
            f"the folder {folder} cannot be written to ({error.strerror}), and weights and checkpoints need a place:"
            " name another --output."
        ) from error
    try:
        yield
    finally:
        lock.release()
