"""Runs jobs on a Ray cluster: each is one of its tasks, which starts the job's processes on the node where it is.

Words travel through an actor beside the command: the tasks' progress to the command, and its word to stop to them.
Ray ends the tasks of a command that is gone, and the processes end with the task that started them.
"""

import logging
import os
import signal
import socket
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from enum import Enum
from itertools import count
from pathlib import Path
from typing import Any

from sakbench import __version__
from sakbench.errors import UserError
from sakbench.runs import devices, team
from sakbench.runs.executor import Display, Record
from sakbench.runs.jobs import Job
from sakbench.runs.place import Place
from sakbench.runs.schedule import Died, End, Failed, carry_out
from sakbench.training.progress import Progress

try:
    import ray
    from ray.exceptions import NodeDiedError, OutOfMemoryError, RayError, RayTaskError
    from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy
except ImportError as error:
    raise UserError("the executor ray needs Ray: pip install 'sakbench[ray]'.") from error

_SECONDS_TO_ANSWER = 10.0
_SECONDS_TO_LOOK = 120.0  # a node may import from a slow disk
_SECONDS_TO_TELL = 1.0
_STORE_BYTES = 100 * 2**20  # of a local cluster: nothing large travels


@dataclass(frozen=True)
class Node:
    """A machine of the cluster, with all its GPUs and cores."""

    id: str
    name: str
    gpus: int
    cpus: int


def connect(address: str | None = None) -> None:
    """Be part of the cluster whose head is at `address` (HOST:PORT), or that this machine belongs to ("auto").

    Without an address it is the one that RAY_ADDRESS names, as everywhere with Ray, or else one of this machine alone
    that ends with this process. Raises `UserError` where no cluster answers. Once connected, it is left at that.
    """
    if ray.is_initialized():
        return
    address = address or os.environ.get("RAY_ADDRESS")
    if address:
        if address != "auto":
            _require_answer(address)
        os.environ.setdefault("RAY_gcs_server_port_wait_time_s", "1")  # one try of 40 seconds, not twenty
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    before = signal.getsignal(signal.SIGTERM)
    try:
        ray.init(
            address or "local",
            num_cpus=None if address else devices.cores(),
            object_store_memory=None if address else _STORE_BYTES,
            include_dashboard=None if address else False,
            logging_level=logging.CRITICAL,
            log_to_driver=False,
            runtime_env={"env_vars": _environment()},
        )
    except (ConnectionError, RuntimeError, ValueError) as error:
        where = f"the Ray cluster at {address} cannot be joined" if address else "Ray cannot be started"
        hint = "; if it asks for a token, set RAY_AUTH_MODE=token." if address else ""
        raise UserError(f"{where}: {_first_line(error)}{hint}") from error
    finally:
        signal.signal(signal.SIGTERM, before)  # what SIGTERM means is the command's to say


def nodes(address: str | None = None) -> list[Node]:
    """The nodes of the cluster (see `connect`), those with the most GPUs, then cores, first: a run spreads over one."""
    connect(address)
    found = [
        Node(
            node["NodeID"],
            f"{node['NodeManagerHostname']} ({node['NodeManagerAddress']})",
            int(node["Resources"].get("GPU", 0)),
            int(node["Resources"].get("CPU", 0)),
        )
        for node in ray.nodes()
        if node["Alive"]
    ]
    return sorted(found, key=lambda node: (-node.gpus, -node.cpus))


class RayExecutor:
    """Runs jobs at `place`, whose folders all nodes share, on the cluster at `address` (see `connect`).

    A job takes `devices` GPUs of one node and for each `place.workers` + 1 cores, or that many cores on the CPU. At
    most `jobs` run at once, on at most `gpus` GPUs; None leaves it to the cluster.
    """

    def __init__(
        self, place: Place, address: str | None = None, jobs: int | None = None, gpus: int | None = None
    ) -> None:
        self.place = replace(
            place,
            runs=place.runs.absolute(),
            data=place.data and place.data.absolute(),
            pairs=place.pairs and place.pairs.absolute(),
            weights={name: file.absolute() for name, file in place.weights.items()},
        )
        self.address = address
        self.jobs = jobs
        self.gpus = gpus

    def run(self, jobs: list[Job], display: Display, record: Record) -> None:
        """Do all `jobs`: see `Executor`. Raises `UserError` for nodes that could not do them and a lost cluster."""
        if not jobs:
            return
        connect(self.address)
        try:
            _require_alike(self.place)
            carry_out(jobs, _Tasks(self.place, self.jobs, self.gpus), display, record)
        except RayError as error:
            raise UserError(
                f"the Ray cluster was lost ({_first_line(error)}): call the same command again, what is finished is"
                " kept."
            ) from error


class _Tasks:
    """A pool of tasks. Ray finds the node for each, so only one at a time is left waiting for that.

    Tasks are told to end, never cancelled: Ray's driver may crash when a task that it cancels is just done.
    """

    def __init__(self, place: Place, jobs: int | None, gpus: int | None) -> None:
        self.place = place
        self.jobs = jobs
        self.gpus = gpus
        self.tasks: dict[ray.ObjectRef, tuple[int, Job]] = {}  # which start of a job it is, the first one ever being 0
        self.starts = count()
        self.begun = set[int]()
        here = NodeAffinitySchedulingStrategy(ray.get_runtime_context().get_node_id(), soft=False)
        self.board: Any = ray.remote(_Board).options(num_cpus=0, scheduling_strategy=here).remote()

    def fits(self, job: Job) -> bool:
        if not self.tasks:
            return True
        if any(start not in self.begun for start, _ in self.tasks.values()) or len(self.tasks) == self.jobs:
            return False
        there = sum(node.cpus if self.place.on_cpu else node.gpus for node in nodes())
        most = there if self.gpus is None or self.place.on_cpu else min(self.gpus, there)
        return sum(other.devices for _, other in self.tasks.values()) + job.devices <= most

    def start(self, job: Job) -> None:
        gpus = 0 if self.place.on_cpu else job.devices
        cpus = job.devices * (self.place.workers + 1)
        if not any(node.gpus >= gpus and node.cpus >= cpus for node in nodes()):
            raise UserError(
                f"{job.label} takes {gpus} GPUs and {cpus} cores of one node, and no node of the cluster has them:"
                " start one, then call the same command again."
            )
        start = next(self.starts)
        task = _task.options(num_cpus=cpus, num_gpus=gpus, name=job.label).remote(job, start, self.place, self.board)
        self.tasks[task] = start, job

    def messages(self, seconds: float) -> Iterator[tuple[Job, Progress | End]]:
        seconds = min(seconds, _SECONDS_TO_TELL)
        if not self.tasks:
            time.sleep(seconds)
            return
        ended, under_way = ray.wait(list(self.tasks), timeout=seconds)
        news = ray.get(self.board.news.remote())
        self.begun |= news.keys()
        for start, job in [self.tasks[task] for task in under_way]:
            if progress := news.get(start):
                yield job, progress
        for task in ended:
            yield self.tasks.pop(task)[1], _end(task)

    def kill(self, job: Job) -> None:
        task, start = next((task, start) for task, (start, its) in self.tasks.items() if its == job)
        del self.tasks[task]
        ray.get(self.board.kill.remote(start))
        ray.wait([task], timeout=team.SECONDS_TO_STOP)

    def stop(self) -> None:
        try:
            self.begun |= ray.get(self.board.stop.remote(), timeout=_SECONDS_TO_ANSWER)
        except RayError:
            return  # the cluster is gone, and all tasks with it
        under_way = [task for task, (start, _) in self.tasks.items() if start in self.begun]  # others never begin
        if under_way:
            ray.wait(under_way, num_returns=len(under_way), timeout=team.SECONDS_TO_STOP)


class Word(Enum):
    """What a task is told."""

    GO_ON = "go on"
    STOP = "stop, but save a checkpoint"
    KILL = "end at once"


class _Board:
    """Where tasks and command leave their words."""

    def __init__(self) -> None:
        self.latest: dict[int, Progress | None] = {}
        self.killed = set[int]()
        self.stopping = False

    def tell(self, start: int, progress: Progress | None) -> Word:
        """Say how far a job is, None as it begins."""
        self.latest[start] = progress
        if start in self.killed:
            return Word.KILL
        return Word.STOP if self.stopping else Word.GO_ON

    def news(self) -> dict[int, Progress | None]:
        """What jobs have told since the last time."""
        news, self.latest = self.latest, {}
        return news

    def kill(self, start: int) -> None:
        """One must end at once."""
        self.killed.add(start)

    def stop(self) -> set[int]:
        """From now on all must stop; those that have told anything since the last time."""
        self.stopping = True
        return set(self.latest)


@ray.remote(max_retries=0)
def _task(job: Job, start: int, place: Place, board: Any) -> End | None:
    """Do a job on this node; None if it was told to end."""
    if ray.get(board.tell.remote(start, None)) is not Word.GO_ON:
        return None
    chosen = ["cpu"] * job.devices if place.on_cpu else [str(gpu) for gpu in ray.get_gpu_ids()]
    current = team.Team(job, place, chosen)
    latest = None
    try:
        current.begin()
        while True:
            for _, message in team.messages([current], _SECONDS_TO_TELL):
                if not isinstance(message, Progress):
                    return message
                latest = message
            word = ray.get(board.tell.remote(start, latest))
            if word is Word.STOP:
                team.stop([current])
            if word is not Word.GO_ON:
                return None
    finally:
        current.kill()


def _end(task: ray.ObjectRef) -> End:
    try:
        return ray.get(task)
    except RayTaskError as error:
        return Failed(f"{type(error.cause).__name__}: {error.cause}")
    except NodeDiedError:
        return Died("its node was lost")
    except OutOfMemoryError:
        return Died("its node had no memory left")
    except RayError:
        return Died("its worker was lost")


def _require_alike(place: Place) -> None:
    """Raise `UserError` for a node that has another sakbench, or none, or that lacks one of the place's files."""
    place.runs.mkdir(parents=True, exist_ok=True)
    with tempfile.NamedTemporaryFile(dir=place.runs, prefix=".seen-by-all-") as file:
        paths = {file.name: f"the folder {place.runs}"}
        paths |= {str(path): str(path) for path in (place.data, place.pairs, *place.weights.values()) if path}
        looks: dict[Any, Node] = {}
        for node in nodes():
            if node.cpus if place.on_cpu else node.gpus:
                there = NodeAffinitySchedulingStrategy(node.id, soft=False)
                look = ray.remote(_looking([*paths])).options(num_cpus=0, max_retries=0, scheduling_strategy=there)
                looks[look.remote()] = node
        if not looks:
            raise UserError(f"no node of the Ray cluster has a {'core' if place.on_cpu else 'GPU'}.")
        ray.wait([*looks], num_returns=len(looks), timeout=_SECONDS_TO_LOOK)
        for asked, node in looks.items():
            _require_like_this(asked, f"the node {node.name} of the Ray cluster", paths)


def _require_like_this(asked: Any, node: str, paths: dict[str, str]) -> None:
    try:
        version, lacking = ray.get(asked, timeout=0)
    except RayError as error:
        raise UserError(f"{node} does not answer ({_first_line(error)}): mend it, or take it out.") from error
    if version != __version__:
        raise UserError(
            f"{node} has {f'sakbench {version}' if version else 'no sakbench'}, and this is {__version__}: install the"
            " same there, and start Ray there with that Python."
        )
    if lacking:
        raise UserError(
            f"{node} does not see {paths[lacking[0]]}: weights, checkpoints and data must lie on a disk that all nodes"
            " share, under the same path."
        )


def _looking(paths: list[str]) -> Callable[[], tuple[str, list[str]]]:
    """What a node is asked. Ray carries an inner function by its code, so that the node need not have sakbench."""

    def look() -> tuple[str, list[str]]:
        from pathlib import Path

        try:
            from sakbench import __version__
        except ImportError:
            return "", []
        return __version__, [path for path in paths if not Path(path).exists()]

    return look


def _require_answer(address: str) -> None:
    """Raise `UserError` if nothing listens there: Ray itself would try for minutes."""
    host, _, port = address.rpartition(":")
    if not host or "/" in host or not port.isdecimal():
        raise UserError(f"{address!r} is no address of a Ray cluster: name its head as HOST:PORT, or say auto.")
    try:
        socket.create_connection((host, int(port)), _SECONDS_TO_ANSWER).close()
    except (OSError, OverflowError) as error:
        raise UserError(
            f"no Ray cluster answers at {address} ({error}): `ray start --head` starts one and tells its address."
        ) from error


def _environment() -> dict[str, str]:
    """What the tasks must find in theirs, wherever they are."""
    chosen = {name: value for name, value in os.environ.items() if name.startswith("SAKBENCH_")}
    if "SAKBENCH_CACHE" in chosen:
        chosen["SAKBENCH_CACHE"] = str(Path(chosen["SAKBENCH_CACHE"]).absolute())
    return chosen


def _first_line(error: Exception) -> str:
    return str(error).strip().partition("\n")[0]
