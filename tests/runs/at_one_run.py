"""`torchrun at_one_run.py RUNS ID OUT`: two processes at a run whose result only the first can see or wait for.

What `perform` gave each of them, first with a lock in the way, goes into OUT/RANK.json.
"""

import json
import sys
from pathlib import Path

from filelock import FileLock

from sakbench.models.processes import rank
from sakbench.runs import perform
from sakbench.runs.place import Place
from sakbench.runs.spec import RunSpec
from sakbench.training.group import launched


def main(runs: Path, run: str, out: Path) -> None:
    spec = RunSpec.from_dict(json.loads((runs / run / "run.json").read_text()))
    assert spec.id == run
    place = Place(runs if rank() == 0 else out / "nothing")
    given = []
    lock = FileLock(runs / run / ".lock")
    if rank() == 0:
        lock.acquire()
    for _ in range(2):
        try:
            given.append(perform.perform(spec, place, lambda progress: None, lambda: rank() == 0))
        except perform.Stopped:
            given.append("stopped")
        lock.release()
    (out / f"{rank()}.json").write_text(json.dumps(given))


if __name__ == "__main__":
    with launched(on_cpu=True):
        main(Path(sys.argv[1]), sys.argv[2], Path(sys.argv[3]))
