"""Who does a command's jobs: processes that it starts, processes that a launcher has started, or a Ray cluster."""

from dataclasses import dataclass, replace

from sakbench.errors import UserError, unknown
from sakbench.runs import devices
from sakbench.runs.executor import Executor
from sakbench.runs.place import Place
from sakbench.runs.scales import Scale

EXECUTORS = ("local", "ray", "here")
_MOST_READERS = 16  # each holds a few batches


@dataclass(frozen=True)
class Crew:
    """An executor and where it works. A run may spread over `width` devices; together they are on `gpus` GPUs."""

    executor: Executor
    place: Place
    width: int
    gpus: int


def assemble(scale: Scale, place: Place, *, executor: str, address: str, gpus: int | None, jobs: int | None) -> Crew:
    """The crew for a scale's jobs at `place`, whose readers and device are filled in here.

    `gpus` and `jobs` are all that there are, or as many as are good, where they are None. Raises `UserError` for an
    executor that is none, an address without a cluster, and GPUs that are missing.
    """
    if executor not in EXECUTORS:
        raise unknown("executor", executor, EXECUTORS)
    if address and executor != "ray":
        raise UserError("--address is that of a Ray cluster: add --executor ray, or leave it out.")
    launched = devices.launched()
    if executor == "ray":
        if launched:
            raise UserError("Ray starts processes itself: call the command without a launcher.")
        return _on_ray(scale, place, address, gpus, jobs)
    chosen = devices.choose(scale.name, gpus, jobs)
    on_cpu = chosen[0] == "cpu"
    workers = 0 if on_cpu else _readers(scale, max(2, devices.cores() // len(chosen)))
    place = replace(place, workers=workers, on_cpu=on_cpu)
    if executor == "here":
        from sakbench.runs.here import HereExecutor  # here, because it imports torch

        return Crew(HereExecutor(place), place, 1, 0 if on_cpu else 1)
    if launched:
        from sakbench.runs.launched import LaunchedExecutor  # here, because it imports torch

        return Crew(LaunchedExecutor(place), place, launched, 0 if on_cpu else launched)
    from sakbench.runs.local import LocalExecutor

    return Crew(LocalExecutor(chosen, place), place, len(chosen), 0 if on_cpu else len(set(chosen)))


def _on_ray(scale: Scale, place: Place, address: str, gpus: int | None, jobs: int | None) -> Crew:
    """The whole of a cluster, or `gpus` of its GPUs; a run spreads over one node at most."""
    from sakbench.runs.on_ray import RayExecutor, nodes  # here, because Ray need not be installed

    found = nodes(address or None)
    largest, together = found[0], sum(node.gpus for node in found)
    if gpus == 0 or (gpus is None and scale.name == "mini"):
        place = replace(place, on_cpu=True)
        return Crew(RayExecutor(place, address or None, jobs, gpus), place, largest.cpus, 0)
    if not largest.gpus or (gpus or 0) > together:
        asked = f"{gpus} GPUs were asked for, and" if gpus else "this scale trains on GPUs, and"
        raise UserError(f"{asked} the Ray cluster has {together}: start nodes that have some, or say --gpus 0.")
    place = replace(place, workers=_readers(scale, max(1, largest.cpus // largest.gpus)), on_cpu=False)
    width = min(largest.gpus, gpus or largest.gpus)
    return Crew(RayExecutor(place, address or None, jobs, gpus), place, width, gpus or together)


def _readers(scale: Scale, cores: int) -> int:
    """How many processes read photographs for a GPU that has so many cores; mini's images are in memory."""
    return 0 if scale.name == "mini" else min(_MOST_READERS, cores - 1)
