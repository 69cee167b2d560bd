"""`torchrun waiting_group.py FOLDER`: two processes wait for a run of another command, lose one, and do the third.

The first one writes what happened into FOLDER/events.json.
"""

import json
import os
import sys
import threading
from dataclasses import replace
from pathlib import Path

from sakbench.runs import launched, schedule
from sakbench.runs.place import Place
from tests.runs.in_memory import Notes, endless_job, small_jobs


def main(folder: Path) -> None:
    place = Place(folder / "runs")
    if os.environ["RANK"] != "0":
        launched.follow(place)
        return
    schedule.ASK_SECONDS = launched.ASK_SECONDS = 0.1
    held, mine = (replace(job, after=(), devices=2) for job in small_jobs() if "task" in job.label)
    lost = replace(endless_job(), devices=2)

    def lose(job):
        if job == lost and job.id in notes.taken:
            notes.store.holders[job.id] = "another"
            threading.Timer(
                1.0, notes.store.results.update, [{run.id: {"metrics": []} for run in (held, lost)}]
            ).start()

    notes = Notes(hear=lose)
    notes.store.holders[held.id] = "another"
    launched.LaunchedExecutor(place).run([held, lost, replace(mine, after=(held.id, lost.id))], notes, notes)
    (folder / "events.json").write_text(json.dumps([(word.partition(":")[0], label) for word, label in notes.events]))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
