"""`sakbench store check`: whether a store and the files that its runs left are whole, and what can be repaired."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from rich.markup import escape
from rich.progress import track
from rich.table import Table

from sakbench import whole
from sakbench.errors import UserError
from sakbench.report.output import console, print_json
from sakbench.runs import artifacts
from sakbench.store import open_store
from sakbench.training import saved

if TYPE_CHECKING:
    from sakbench.store.database import Store


@dataclass(frozen=True)
class Trouble:
    """Something that is not as it should be, and what `--repair` does about it, if it can do anything."""

    where: str
    what: str
    remedy: str = ""
    remove: Path | None = None
    forget: str = ""  # a path that the store is to know no more


def check(location: str | Path, folder: Path | None, *, repair: bool, as_json: bool) -> int:
    """Compare a store with the files that its runs left, and print what is wrong; returns the exit code.

    With `repair`, what is damaged is removed, so that it is made again when it is needed, and what is gone is
    forgotten. No number in the store is touched.
    """
    store = open_store(location, write=repair)
    here = folder or store.location.runs
    if not here.is_dir():
        raise UserError(f"there is no folder of runs {here}, so nothing can be compared: name it with --runs.")
    of_artifacts, good = _of_artifacts(store, here)
    told = {trouble.remove for trouble in of_artifacts}
    of_runs = [trouble for trouble in _of_runs(store, here) if trouble.remove is None or trouble.remove not in told]
    troubles = [*(Trouble("store", sentence) for sentence in store.troubles()), *of_artifacts, *of_runs]
    if repair:
        _repair(store, troubles)
    if as_json:
        listed = [{"where": t.where, "what": t.what, "remedy": t.remedy} for t in troubles]
        print_json({"folder": str(here), "whole": good, "troubles": listed, "repaired": repair})
    else:
        _print(troubles, good, here, repair=repair)
    return 2 if any(not (repair and trouble.remedy) for trouble in troubles) else 0


def _of_artifacts(store: "Store", folder: Path) -> tuple[list[Trouble], int]:
    """What is wrong with the files that runs left, and how many are whole.

    Those of runs that have no folder here, since they were trained elsewhere or somebody removed it, are passed over.
    """
    busy, out, found, good = store.claimed(), console(stderr=True), [], 0
    left = [(record.id, artifact) for record in store.complete()[0] for artifact in record.artifacts]
    for run, artifact in track(left, "reading files", console=out, disable=not out.is_terminal):
        path = folder / artifact.path
        if run in busy or not path.parent.is_dir():  # somebody writes there, or all of it is elsewhere
            continue
        state = artifact.state(path)
        good += state == "whole"
        if state == "missing":
            remedy = "forget it"
            found.append(Trouble(run, f"{path} is missing", remedy, forget=artifact.path))
        elif state == "altered":
            remedy = "remove it; a run that needs it makes it again"
            found.append(Trouble(run, f"{path} has changed", remedy, remove=path, forget=artifact.path))
    return found, good


def _of_runs(store: "Store", folder: Path) -> list[Trouble]:
    """What is wrong with runs that did not end, or with what they left; those that somebody is at are left alone."""
    busy = store.claimed()
    orphans = [
        Trouble(run, "seems to be running, and its process is gone", "note that it was interrupted")
        for run in store.orphans()
    ]
    found = []
    for place in sorted(path for path in folder.glob("*/") if path.name not in busy):
        run, again = place.name, "remove it; a run that needs it makes it again"
        altered = {path: told for path, told in artifacts.problems(place).items() if path.exists()}
        found += [Trouble(run, told, again, remove=path) for path, told in altered.items()]
        for training in artifacts.training_folders(place):
            found += [Trouble(run, told, again, remove=training) for told in saved.problems(training)]
    for draft in artifacts.drafts(folder):
        found.append(Trouble("draft", f"{draft} was left half-written by a process that is gone", "remove it", draft))
    return [*orphans, *found]


def _repair(store: "Store", troubles: Sequence[Trouble]) -> None:
    busy = store.claimed()  # by now, which reading all files may have made a while ago
    troubles = [trouble for trouble in troubles if trouble.where not in busy]
    for path in (trouble.remove for trouble in troubles if trouble.remove):
        try:
            whole.discard(path) if path.is_dir() else path.unlink(missing_ok=True)
        except OSError as error:
            raise UserError(f"{path} cannot be removed ({error.strerror}): mend its permissions.") from error
    store.forget_artifacts([trouble.forget for trouble in troubles if trouble.forget])
    store.sweep("its process ended without a word")


def _print(troubles: Sequence[Trouble], good: int, folder: Path, *, repair: bool) -> None:
    out = console()
    told = f"{len(troubles)} {'thing is' if len(troubles) == 1 else 'things are'} not" if troubles else "no trouble"
    out.print(f"{good} files in {escape(str(folder))} are whole, {told}", highlight=False)
    if not troubles:
        return
    table = Table(box=None)
    for heading in ("run", "what is wrong", f"--repair {'did' if repair else 'would'}"):
        table.add_column(heading, overflow="fold")
    for trouble in troubles:
        table.add_row(trouble.where, escape(trouble.what), trouble.remedy or "cannot be repaired: restore a copy")
    out.print(table, highlight=False)
    if not repair:
        out.print(
            "\n`sakbench store check --repair` does that; no number in the store is touched, and `sakbench repeat RUN`"
            " makes the weights of any run again.",
            highlight=False,
            soft_wrap=True,
        )
