"""Which process holds a claim, and whether it is certainly gone."""

import os
import platform
import uuid
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import psutil


@dataclass(frozen=True)
class Holder:
    """A process: `machine` is one boot of a computer (and one container of it), `born` tells a process from the next
    one of its number, `name` is for people."""

    machine: str
    process: int
    born: str
    name: str

    def __str__(self) -> str:
        return f"process {self.process} on {self.name}"

    def is_here(self) -> bool:
        """Whether it runs, or ran, where this process runs."""
        return self.machine == _machine()

    def is_gone(self) -> bool:
        """Whether it has certainly ended, which can only be told where it ran."""
        return self.is_here() and _born(self.process) not in (self.born, None)


@cache
def _machine() -> str:
    boot, space = Path("/proc/sys/kernel/random/boot_id"), Path("/proc/self/ns/pid")
    if boot.exists() and space.exists():
        return f"{boot.read_text().strip()} {space.readlink()}"
    return f"{platform.node()} {uuid.getnode():x}"


def this_process() -> Holder:
    """The process that asks."""
    return _process(os.getpid())


@cache
def _process(number: int) -> Holder:
    """A process that runs here for sure; known by heart, since later there may be no file left to open for it."""
    born = _born(number)
    if not born:
        raise RuntimeError(f"the system does not tell when process {number} began")
    return Holder(_machine(), number, born, platform.node() or "an unnamed machine")


def _born(process: int) -> str | None:
    """When a process began, in a measure that no change of the clock alters; empty if there is none or it is dead, None
    if that cannot be told (another user's may be hidden)."""
    if not psutil.pid_exists(process):
        return ""
    try:
        if Path("/proc/self/stat").exists():
            state, *fields = Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()
            return "" if state in "ZX" else fields[18]  # ticks since the machine was started
        return str(round(psutil.Process(process).create_time()))
    except (OSError, psutil.Error):
        return None
