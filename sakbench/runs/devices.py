"""On what a command may run its jobs."""

import ctypes
import os
import sys
from collections.abc import Mapping

import psutil

from sakbench.errors import UserError

_MEMORY_OF_A_JOB = 1.5 * 2**30  # bytes; a run at scale mini takes about 1 GiB, torch included

_TRIM_THRESHOLD, _MMAP_THRESHOLD = -1, -3  # mallopt(3)


def cores() -> int:
    """How many cores this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def default_processes() -> int:
    """One process per core, as far as the free memory goes."""
    return max(1, min(cores(), int(psutil.virtual_memory().available / _MEMORY_OF_A_JOB)))


def choose(scale: str, gpus: int | None, jobs: int | None) -> list[str]:
    """The devices for a command's jobs: "cpu" once per core, or the GPUs' numbers, each as often as jobs may share it.

    `gpus` 0 stands for the CPU; None is that at scale mini, and every GPU in sight at scale paper. Raises `UserError`
    where there are not as many GPUs as that, or none where the scale needs one.
    """
    if gpus == 0 or (gpus is None and scale == "mini"):
        return ["cpu"] * (jobs or default_processes())
    if scale == "paper" and jobs is not None:
        raise UserError("scale paper runs as many at once as its GPUs allow: leave --jobs out.")
    seen = _in_sight()
    if gpus is not None and gpus > len(seen):
        raise UserError(f"{gpus} GPUs were asked for, and torch sees {len(seen)} (CUDA_VISIBLE_DEVICES may hide some).")
    if not seen:
        raise UserError(
            "scale paper trains on GPUs and torch sees none: run it where there is one, look at the plan with"
            " --dry-run, or say --gpus 0 for the CPU, which takes months."
        )
    chosen = seen[:gpus]
    return [chosen[i % len(chosen)] for i in range(max(jobs or 1, len(chosen)))]


def keep_freed_memory() -> None:
    """Have glibc, where it is the allocator, keep the memory that is freed: the next step asks for as much again.

    Given back to the system, it is fetched anew page by page, thousands of times in a step of scale mini.
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None) if sys.platform == "linux" else None
    if mallopt:
        mallopt(_MMAP_THRESHOLD, 32 * 2**20)  # the largest that it takes
        mallopt(_TRIM_THRESHOLD, 2**31 - 1)


def launched(environment: Mapping[str, str] = os.environ) -> int:
    """As one of how many processes torchrun, accelerate or the like has started this one; 0 if it stands alone."""
    world = environment.get("WORLD_SIZE", "1")
    return int(world) if "RANK" in environment and world.isdecimal() and int(world) > 1 else 0


def _in_sight() -> list[str]:
    import torch

    names = os.environ.get("CUDA_VISIBLE_DEVICES", "")
    count = torch.cuda.device_count()
    return names.split(",")[:count] if names else [str(number) for number in range(count)]
