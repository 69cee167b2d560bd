"""Doing one job: from a spec to its weights and numbers. The only place where a spec meets the training code."""

import json
import time
from collections.abc import Callable
from contextlib import ExitStack
from typing import Any, TypeVar

import torch
from torch import distributed

from sakbench.errors import UserError
from sakbench.models.processes import rank, world
from sakbench.runs import answering, artifacts, classification, learning, pairs, rendered, results
from sakbench.runs.devices import keep_freed_memory
from sakbench.runs.folder import write
from sakbench.runs.jobs import Bank
from sakbench.runs.place import Place
from sakbench.runs.plan import training_folder
from sakbench.runs.session import Learned, Session
from sakbench.runs.spec import RunSpec
from sakbench.training.alone import alone
from sakbench.training.loop import Interrupted
from sakbench.training.progress import Progress

Report = Callable[[Progress], None]
Stop = Callable[[], bool]
Value = TypeVar("Value")


class Stopped(Exception):
    """The job stopped because it was asked to; what it had done is in its checkpoint."""


def perform(work: RunSpec | Bank, place: Place, report: Report, stop: Stop) -> dict[str, Any]:
    """Do one job in this process, or this process's share of it; a run's weights go to `place.runs`/ID.

    Returns what the store keeps of a run: `metrics`, `seconds`, `peak_memory_mb`, `gpu`, `notes`, `checkpoint` and
    `artifacts`, whose paths are relative to `place.runs`; nothing for features. The folder of a run's training, with
    its checkpoint and its result, stays for whoever stores the result to remove: until then the run is not done again.
    Raises `Stopped` when `stop()` became true.
    """
    if not place.on_cpu:
        torch.cuda.reset_peak_memory_stats()
        torch.compiler.reset()  # it keeps few models of a kind, and an earlier job's are gone
    else:
        # More threads would gain little at mini's sizes, and one gives the same sums whatever else the machine does.
        torch.set_num_threads(1)
        keep_freed_memory()
    try:
        if isinstance(work, Bank):
            rendered.stored(work, place, lambda done, count: report(Progress(done, count)), stop=stop, summed=True)
            return {}
        return _run(work, place, report, stop)
    except Interrupted:
        raise Stopped from None
    except torch.OutOfMemoryError as error:
        raise UserError(
            "the GPU's memory is too small for so many images at once: name fewer with --images-per-gpu N, the rest of"
            " a batch is accumulated."
        ) from error


def _run(spec: RunSpec, place: Place, report: Report, stop: Stop) -> dict[str, Any]:
    """A run's result: the one that an earlier command left, or a new one. Nobody else is at this run meanwhile.

    The first process looks and locks for all.
    """
    training = training_folder(place.runs, spec)
    with ExitStack() as held:
        found, stopped = None, False
        if rank() == 0:
            try:
                held.enter_context(alone(place.runs / spec.id / ".lock", stop))
                found = results.read(training, place.runs)
            except Interrupted:
                stopped = True
        found, stopped = _of_the_first((found, stopped))
        if stopped:
            raise Interrupted
        if found is None:
            found = _train_and_evaluate(spec, place, report, stop)
            _require_finite(found)
            if rank() == 0:
                results.write(training, found)
        return found


def _require_finite(result: dict[str, Any]) -> None:
    try:
        json.dumps(result, allow_nan=False)
    except ValueError as error:
        numbers = ", ".join(f"{metric['task']} {metric['value']:.4g}" for metric in result["metrics"])
        raise UserError(
            f"the trained model gives numbers that are not finite ({numbers}): the run is given up and none of its"
            " numbers is kept; with a lower learning rate or other data it would be another run."
        ) from error


def _of_the_first(value: Value) -> Value:
    """What the first of all processes has."""
    box = [value]
    if world() > 1:
        distributed.broadcast_object_list(box)
    return box[0]


def _train_and_evaluate(spec: RunSpec, place: Place, report: Report, stop: Stop) -> dict[str, Any]:
    began = time.monotonic()
    torch.manual_seed(spec.seed)
    session = Session(spec, place, report, stop)
    learned = _KINDS[spec.kind](session)
    left, checkpoint = learned.left, None
    if learned.student is not None or learned.sums:
        left = write(place.runs / spec.id, learned.student, spec, learned.sums) if rank() == 0 else []
    if learned.student is not None:
        checkpoint = f"{spec.id}/{artifacts.WEIGHTS}"
    elif spec.kind == "score" and spec.start:
        checkpoint = f"{spec.start.id}/{artifacts.WEIGHTS}"
    return {
        "metrics": learned.metrics,
        # the training's seconds include those before an interruption
        "seconds": learned.seconds + time.monotonic() - began - session.trained,
        "peak_memory_mb": session.peak_memory_mb,
        "gpu": session.gpu,
        "checkpoint": checkpoint,
        "artifacts": left,
        "notes": learned.notes,
    }


_KINDS: dict[str, Callable[[Session], Learned]] = {
    "distill": learning.distil,
    "tasks": learning.tune,
    "score": learning.score,
    "pairs": pairs.look_at,
    "classify": classification.classify,
    "answer": answering.answer,
}
